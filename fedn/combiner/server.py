"""The combiner's process.

::

    reducer ──Control──▶ rounds ─▶ phases ─▶ journal (SQLite) ─▶ shelf (files)
    clients ──Attach───▶ roster ◀─ tasks      ▲ accepted updates
            ──Blobs────▶ shelf                │
            ──Submit───▶ intake ──────────────┘
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from fedn.aggregation import agreement
from fedn.aggregation.kernel import Kernel
from fedn.combiner.announce import announce
from fedn.combiner.attach import CombinerService
from fedn.combiner.control import ControlService
from fedn.combiner.door import Door
from fedn.combiner.heartbeats import Heartbeats
from fedn.combiner.intake import Intake
from fedn.combiner.journal import Journal
from fedn.combiner.roster import Roster
from fedn.combiner.rounds import Rounds
from fedn.combiner.shelf import Shelf
from fedn.combiner.tools import Tools
from fedn.config import CombinerSettings
from fedn.security.tokens import admins_token, tokens_of
from fedn.storage import descriptors, folder
from fedn.storage.readiness import Readiness
from fedn.storage.sqlite import SqliteState
from fedn.wire.admission import Admission
from fedn.wire.blobs import BlobService
from fedn.wire.channel import listen, new_server
from fedn.wire.messages import add_blobs
from fedn.wire.rest import TIMEOUT_S, async_client
from fedn.wire.settings import TransferSettings
from fedn.wire.v1 import combiner_pb2 as pb
from fedn.wire.v1 import combiner_pb2_grpc, control_pb2_grpc

log = logging.getLogger(__name__)

FAREWELL_S = 3.0  # for calls that run to end: the outcome of a round that is handed back must arrive


def scratch_folder(root: Path) -> Path:
    """An empty folder for files of running rounds."""
    scratch = root / "scratch"
    scratch.mkdir(exist_ok=True)
    for leftover in scratch.iterdir():
        leftover.unlink()
    return scratch


def workplace(settings: CombinerSettings) -> tuple[Path, int]:
    """The combiner's folder and the lock on it. Combiners of one name_base share a folder, each with a slot in it."""
    named = settings.name or settings.name_base or settings.role
    root = folder.prepare(settings.dir or Path(".fedn") / named)
    return folder.hold_slot(root) if settings.name_base else (root, folder.hold(root))


def reachable_name(host: str) -> str:
    """What others dial for an address that is listened at: every address means any by this machine's name."""
    return socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound


def kernel_of(settings: CombinerSettings) -> tuple[Kernel | None, str]:
    """What folds, None for numpy, and that in words."""
    if settings.kernel == "numpy":
        return None, "numpy, as the settings say"
    try:
        return agreement.load(), "the compiled kernel"
    except ImportError as error:
        return None, f"numpy: there is no compiled kernel ({error})"


class Combiner:
    """One combiner: everything of the picture above, wired."""

    def __init__(self, settings: CombinerSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        tokens = tokens_of(settings)
        self.readiness = Readiness(settings.ready_file)
        root, self._lock = workplace(settings)
        self.identity = folder.identity(root)
        based = f"{settings.name_base}{root.name}" if settings.name_base else None
        self.name = settings.name or based or f"combiner-{self.identity[:6]}"
        self.shelf = Shelf(root / "blobs")
        self._state = SqliteState(root / "journal.db")
        journal = Journal(self._state)
        with folder.after_a_boot(root) as anew:
            if anew:
                self.shelf.drop_unsound(journal.updates())
        self.roster = Roster(clock)
        kernel, self._folds_with = kernel_of(settings)
        tools = Tools(
            roster=self.roster,
            shelf=self.shelf,
            journal=journal,
            scratch=scratch_folder(root),
            clock=clock,
            reconnect_grace_s=settings.reconnect_grace_s,
            threads=settings.threads,
            kernel=kernel,
        )
        self.rounds = Rounds(tools, term=journal.highest_term())
        self._intake = Intake(tools, self.rounds, max_model_bytes=settings.max_model_bytes)
        doors = [] if tokens is None else [Door(tokens)]
        self._connections = descriptors.for_others()
        self._server = new_server(
            window_bytes=settings.window_bytes,
            keepalive_s=settings.keepalive_s,
            connections=self._connections,
            doors=doors,
        )
        self._watching: asyncio.Task[None] | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen. Raises PortTaken."""
        settings = self._settings
        blobs = BlobService(
            self.shelf,
            admission=Admission(settings.transfers_at_once),
            check=self._intake.check_upload,
            settings=TransferSettings(min_rate_bytes_s=settings.min_rate_bytes_s),
        )
        heartbeats = Heartbeats(self.name, self.roster, heartbeat_s=settings.heartbeat_s, sends=blobs.receives_from)
        clients = CombinerService(
            self.name,
            self.roster,
            self.rounds,
            self._intake,
            heartbeats,
            places=descriptors.for_clients(self._connections),
        )
        combiner_pb2_grpc.add_CombinerServicer_to_server(clients, self._server)
        add_blobs(blobs, self._server)
        control_pb2_grpc.add_ControlServicer_to_server(
            ControlService(self.name, self.roster, self.rounds, self.shelf, late=lambda: self._intake.late),
            self._server,
        )
        self.port = await listen(self._server, settings.host, settings.port)
        self._watching = asyncio.create_task(heartbeats.watch())
        log.info("combiner %s listens on %s:%d", self.name, settings.host, self.port)
        log.info("models are folded with %s", self._folds_with)

    @property
    def address(self) -> str:
        """Where clients and the reducer dial."""
        return self._settings.advertise or f"{reachable_name(self._settings.host)}:{self.port}"

    def orphaned(self, seconds: float) -> None:
        """The reducer has been away for so long, maybe for us alone: let the clients see whether it names another."""
        reason = f"combiner {self.name} has not reached the reducer for {seconds:.0f} s"
        log.warning("%s; its clients are asked to look for another", reason)
        self.roster.tell_all(pb.CombinerCommand(reconsider=pb.Reconsider(reason=reason)))

    async def stop(self) -> None:
        """End streams and rounds; the journal keeps what was accepted."""
        self.roster.send_away("the combiner is stopping")
        for seat in self.roster.seats():
            if seat.stream is not None:
                seat.stream.close()
        if self._watching is not None:
            self._watching.cancel()
        await self._server.stop(FAREWELL_S)
        await self.rounds.stop()
        self._state.close()
        os.close(self._lock)


async def serve(settings: CombinerSettings) -> None:
    """Run a combiner until SIGTERM or SIGINT."""
    combiner = Combiner(settings)
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    await combiner.start()
    patience_s = min(TIMEOUT_S, settings.orphan_s)
    async with async_client(settings.reducer, token=admins_token(settings), timeout_s=patience_s) as client:
        announcing = asyncio.create_task(
            announce(
                client,
                name=combiner.name,
                identity=combiner.identity,
                address=combiner.address,
                readiness=combiner.readiness,
                orphaned=combiner.orphaned,
                orphan_s=settings.orphan_s,
                renews=settings.admin_token_file is not None,
            )
        )
        renewing = asyncio.create_task(combiner.readiness.keep())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([announcing, stopping], return_when=asyncio.FIRST_COMPLETED)
            if announcing.done():
                announcing.result()
            announcing.cancel()  # before it is said, so that no announcement says otherwise again
            combiner.readiness.not_ready("it is draining")
            if combiner.rounds.known():
                log.info("stopping; a round that runs here has %g s to end", settings.drain_s)
            await combiner.rounds.drain(settings.drain_s)
        finally:
            combiner.readiness.not_ready("it is stopping")
            announcing.cancel()
            renewing.cancel()
            stopping.cancel()
            await combiner.stop()
