"""Stores in front of real ones: they count their calls, fail at one of them, or are away as long as a test wants."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from fedn.errors import Unavailable
from fedn.reducer.desk import Desk
from fedn.reducer.patience import Stores
from fedn.reducer.sessions import Sessions
from fedn.reducer.trail import Trail
from fedn.storage.blobs import Blobs
from fedn.storage.state import State

POLLS = {("get", "sessions"), ("find", "sessions")}  # so often per second, whatever happens


class Guarded:
    """Any store. `calls` are those that are no polls; the one at `fails_at` fails, before or `after` it was done."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.calls: list[tuple[str, str]] = []
        self.fails_at: int | None = None
        self.after = False
        self.away = False
        self.refused = threading.Event()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        work = getattr(self._store, name)

        def guarded(*args: Any, **more: Any) -> Any:
            call = (name, str(args[0]) if args and isinstance(args[0], str) else "")
            with self._lock:
                number = len(self.calls)
                if call not in POLLS:
                    self.calls.append(call)
            fails = self.away or (call not in POLLS and number == self.fails_at)
            if fails:
                if self.after and not self.away:
                    work(*args, **more)
                self.refused.set()
                raise Unavailable("the store is away")
            return work(*args, **more)

        return work if name == "close" else guarded


def guard(desk: Desk, *, patience_s: float = 60.0) -> tuple[Desk, Guarded, Guarded]:
    """The desk over guarded stores, and the guards of the state and of the blobs."""
    state, blobs = Guarded(desk.state), Guarded(desk.blobs)
    over = cast(State, state)
    stores: dict[str, Any] = {
        "state": over,
        "trail": Trail(over),
        "sessions": Sessions(over),
        "blobs": cast(Blobs, blobs),
    }
    return replace(desk, **stores, stores=Stores(patience_s)), state, blobs
