"""Whether the stores answer, told in time: a store that hangs must not silence those who say that it does."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

from fedn.errors import Unavailable
from fedn.reducer.desk import Desk

ANSWER_S = 5.0  # `fedn health reducer` waits for 8


class Probe:
    """Looks at the stores, one look at a time: who asks during a look waits for that one, but not longer than told."""

    def __init__(self, desk: Desk, *, answer_s: float = ANSWER_S) -> None:
        self._desk = desk
        self._answer_s = answer_s
        self._lock = threading.Lock()
        self._look: Look | None = None

    def check(self) -> None:
        """Raises what `Desk.check_newest` raises, or Unavailable with the store that has not answered."""
        with self._lock:
            if self._look is None or self._look.ended.done():
                self._look = Look(self._desk)
                threading.Thread(target=self._look.take, name="probe", daemon=True).start()
            look = self._look
        try:
            look.ended.result(self._answer_s)
        except TimeoutError:
            raise Unavailable(f"{look.asks} has not answered for {time.monotonic() - look.since:.1f} s") from None


class Look:
    """One look at both stores, in a thread that nobody has to wait for."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.ended: Future[None] = Future()
        self._ask("state", desk.settings.state)

    def take(self) -> None:
        """Ask the one, then the other."""
        try:
            latest = self._desk.trail.latest()
            self._ask("blob", self._desk.settings.blobs)
            self._desk.check_held(latest)
        except BaseException as error:  # noqa: BLE001 - it is raised by those who wait
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)

    def _ask(self, kind: str, address: str | None) -> None:
        self.asks = f"the {kind} store {address or f'in {self._desk.settings.dir}'}"
        self.since = time.monotonic()
