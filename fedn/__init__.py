"""FEDn: an open federated-learning network. The roles live in `fedn.reducer`, `fedn.combiner`, `fedn.client`."""

__version__ = "0.1.0"
