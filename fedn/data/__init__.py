"""Public data sets, and ways to deal a data set out to clients: for test projects, benchmarks and experiments.

With real data owners neither is needed: each client has its own data.
"""

from fedn.data.datasets import Examples, cifar10, mnist
from fedn.data.dirichlet import dirichlet
from fedn.data.partition import by_key, iid, label_shards

__all__ = ["Examples", "by_key", "cifar10", "dirichlet", "iid", "label_shards", "mnist"]
