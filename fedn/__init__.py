"""FEDn: an open federated-learning network. The roles live in `fedn.reducer`, `fedn.combiner`, `fedn.client`."""

import os

# gRPC's core writes to stderr what we report as errors; it looks once, when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__version__ = "0.1.0"
