"""The model trail apart from any store: what a record is, how a trail is verified, how it travels as one file."""
