"""Benchmarks, each a module with a `main`."""
