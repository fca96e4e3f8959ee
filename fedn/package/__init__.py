"""The compute package: a project folder, and the archive of it that travels to the clients."""
