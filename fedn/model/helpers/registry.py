"""Helpers by name: the four of FEDn, and those that installed packages offer.

A package offers one by an entry point of the group ``fedn.helpers``, which names a module or an object::

    [project.entry-points."fedn.helpers"]
    flax = "fedn_flax.helper"

It is imported when it is asked for. FEDn's own names cannot be taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, cast

from fedn.errors import FrameworkMissing, HelperInvalid, HelperUnknown
from fedn.model.helpers.metadata import Metrics

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "fedn.helpers"
FUNCTIONS = ("load", "save", "save_metrics")

# a built-in helper, and what must be installed for it
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "keras": ("keras", "tensorflow", "torch", "jax"),
    "numpy": (),
    "sklearn": ("sklearn",),
    "torch": ("torch",),
}


class Helper(Protocol):
    """What a helper offers: a module with these functions, or an object with these methods."""

    def load(self, path: str | PathLike[str], into: Any = ...) -> Any:
        """The model in a file, put into `into` where it is given; SchemaMismatch, and no change, if it does not fit."""
        ...

    def save(
        self, path: str | PathLike[str], model: Any, *, num_examples: int | None = None, metrics: Metrics | None = None
    ) -> str:
        """Write a model file in canonical form and, with `num_examples`, its metadata; return the file's sha256."""
        ...

    def save_metrics(self, path: str | PathLike[str], metrics: Metrics, *, num_examples: int) -> None:
        """Write the result of a validation; ``fedn.model.helpers.metadata`` has it."""
        ...


def names() -> list[str]:
    """The names of all helpers here, in alphabetical order; none is imported."""
    return sorted({*BUILT_IN, *(point.name for point in _offered())})


def get(name: str) -> Helper:
    """The helper of that name. Raises `HelperUnknown`, `HelperInvalid`, `FrameworkMissing`."""
    if name in BUILT_IN:
        return _built_in(name)
    offers = {point.value: point for point in _offered() if point.name == name}
    if not offers:
        raise HelperUnknown(f"there is no helper {name!r}; there are {', '.join(names())}")
    if len(offers) > 1:
        raise HelperInvalid(f"helper {name!r} is offered more than once: {', '.join(map(_shown, offers.values()))}")
    return _load(offers.popitem()[1])


def _built_in(name: str) -> Helper:
    try:
        return cast(Helper, import_module(f"fedn.model.helpers.{name}"))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in BUILT_IN[name]:
            raise
        raise FrameworkMissing(
            f"helper {name!r} needs {missing}, which is not installed here: pip install 'fedn[{name}]'"
        ) from error


def _load(point: EntryPoint) -> Helper:
    try:
        helper = point.load()
    except (ImportError, AttributeError) as error:
        raise HelperInvalid(f"helper {_shown(point)} cannot be imported: {error}") from error
    lacking = [function for function in FUNCTIONS if not callable(getattr(helper, function, None))]
    if lacking:
        raise HelperInvalid(f"helper {_shown(point)} has no {' and no '.join(lacking)}")
    return cast(Helper, helper)


def _offered() -> list[EntryPoint]:
    from importlib.metadata import entry_points  # 20 ms that a script which knows its helper need not spend

    return list(entry_points(group=GROUP))


def _shown(point: EntryPoint) -> str:
    return f"{point.name!r} ({point.value}" + (f", of {point.dist.name} {point.dist.version})" if point.dist else ")")
