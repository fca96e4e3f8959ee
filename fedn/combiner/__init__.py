"""The combiner: a gRPC server that runs a round among its own clients."""
