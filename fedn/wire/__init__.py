"""The wire: generated stubs (`v1`), channels, and the one blob-transfer protocol."""

import os

# gRPC's core writes to stderr what we report as errors; it looks once, when it is imported
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
