"""The wire: generated stubs (`v1`), channels, and the one blob-transfer protocol."""
