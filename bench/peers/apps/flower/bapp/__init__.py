"""The benchmark's work as a Flower app."""
