"""The networks on which rows are played: each lives on through as many rows as it can."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from test.faults.lose import lose
from test.faults.losses import Loss
from test.faults.play import Found, play, undisturbed
from test.faults.rows import Ground
from test.faults.site import Site, Ways, site
from test.faults.table import Fault
from test.system.network import command

GROUNDS: Mapping[Ground, Ways] = {
    "embedded": Ways(),
    "stores": Ways(stores=True),
    "losses": Ways(client_grace_s=1.0),
    "moves": Ways(combiner_grace_s=1.5),
}


class Sites:
    """A site of the kind that a row needs; another one after a row that was not as expected."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._site: Site | None = None
        self._ground: Ground | None = None
        self._count = 0
        self.expected: list[str] = []

    def take(self, ground: Ground) -> Site:
        """A site of that kind that is well."""
        if self._site is None or self._ground != ground:
            self.verified()
            self.drop()
            self._count, self._ground = self._count + 1, ground
            self._site = self._stack.enter_context(site(self._folder / str(self._count), GROUNDS[ground]))
            models = undisturbed(self._site)
            assert self.expected in ([], models), "two undisturbed networks have made different models"
            self.expected = models
        return self._site

    def play(self, fault: Fault) -> tuple[Found, Path]:
        """One row; what was found, and the folder of its logs."""
        here = self.take(fault.ground)
        found = lose(here, fault, self.expected) if isinstance(fault, Loss) else play(here, fault, self.expected)
        if not found.holds:
            self.drop()
        return found, here.folder

    def verified(self) -> None:
        """The whole trail of the present site holds, with all lineages that its rows have begun (I5)."""
        if self._site is not None:
            done = command("trail", "verify", "--reducer", self._site.address)
            assert done.returncode == 0, done.stderr

    def drop(self) -> None:
        """End the present one."""
        self._stack.close()
        self._site = None
