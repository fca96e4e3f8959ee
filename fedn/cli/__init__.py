"""The `fedn` command: one module per noun."""
