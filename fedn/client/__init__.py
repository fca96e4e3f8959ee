"""The client: dials one combiner and trains on private data, by a compute package or by functions of a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedn.client.embedded import Client
    from fedn.client.functions import Task, Update, Validation

__all__ = ["Client", "Task", "Update", "Validation"]


def __getattr__(name: str) -> Any:
    """Loaded when they are asked for: `fedn --help` needs no gRPC."""
    if name == "Client":
        from fedn.client import embedded

        return embedded.Client
    if name in __all__:
        from fedn.client import functions

        return getattr(functions, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
