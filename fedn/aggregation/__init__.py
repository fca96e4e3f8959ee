"""How updates become one model: exact sums, federated averaging. Arithmetic only."""
