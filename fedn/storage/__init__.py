"""Two small ports, state and blobs, and their implementations."""
