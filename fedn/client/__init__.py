"""The client: dials one combiner and runs the compute package on private data."""
