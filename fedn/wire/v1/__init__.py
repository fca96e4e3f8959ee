"""Generated from proto/fedn/v1 by `make proto`; never edited."""
