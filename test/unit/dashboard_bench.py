"""The reducer's application over a real store, with combiners that report what the test says."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from flask import Flask

from fedn.config import ReducerSettings
from fedn.reducer.app import create_app
from fedn.reducer.desk import Desk
from fedn.reducer.engine import Engine
from fedn.reducer.network import Seen
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.trail import Commit
from fedn.wire.v1 import control_pb2 as control

T = TypeVar("T")

NASTY = "<script>document.title='taken'</script>"
PAGE = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
DIGEST = hashlib.sha256(b"").hexdigest()


class Surveyed:
    """In the engine's place: answers at once."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.woken = 0

    async def survey(self) -> Sequence[Seen]:
        return self.seen

    def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        async def put() -> T:
            return await question(self)

        return asyncio.run(put())

    def wake(self) -> None:
        self.woken += 1


class Bench:
    """A desk, its application, and the strokes with which a test paints their state."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.network = Surveyed()

    def app(self) -> Flask:
        return create_app(self.desk, cast(Engine, self.network))

    def page(self, path: str, *, status: int = 200) -> str:
        answer = self.app().test_client().get(path, headers=PAGE)
        assert answer.status_code == status
        assert answer.mimetype == "text/html"
        return answer.text

    def post(self, path: str, form: Mapping[str, Any], *, status: int) -> str:
        answer = self.app().test_client().post(path, data=dict(form), headers=PAGE)
        assert answer.status_code == status
        return answer.text

    def data(self, path: str) -> Any:
        return self.app().test_client().get(path).json

    def combiner(self, name: str, *clients: str, task: str = "", up: bool = True) -> None:
        attached = [
            control.AttachedClient(client_id=f"id-{part}", name=client, part=part, task=task, cpus=2)
            for part, client in enumerate(clients)
        ]
        report = control.ReportReply(combiner=name, clients=attached) if up else None
        self.network.seen.append(Seen(name, f"identity of {name}", "127.0.0.1:8091", report))

    def working(self, session: str, number: int, *, participants: int, answered: int, busy: Sequence[str]) -> None:
        """The last combiner has this round running."""
        report = self.network.seen[-1].report
        assert report is not None
        progress = control.RoundProgress(phase="collect", participants=participants, answered=answered, busy=busy)
        report.rounds.append(control.RunningRound(round_id=f"{session}.{number}.train.1", progress=progress))

    def package(self, name: str = "digits", command: str = "train.py") -> None:
        entry_points = {"train": ["python", command]}
        described = {"digest": DIGEST, "name": name, "size": 20480, "entry_points": entry_points}
        self.desk.state.insert("context", {"_id": "package"} | described)

    def seed(self) -> None:
        blob = self.desk.settings.dir / "blobs" / DIGEST[:2] / DIGEST
        blob.parent.mkdir(exist_ok=True)
        blob.touch()  # as a model it says nothing
        self.desk.trail.plant(DIGEST, time=1.7e9)

    def session(self, **config: Any) -> str:
        return str(self.desk.sessions.create(SessionConfig(**config))["_id"])

    def commit(self, session: str, number: int) -> None:
        combiners = [{"combiner": "north", "model": f"{number:064d}", "weight": 720}]
        receipt, aggregator = f"{number + 500:064d}", {"name": "fedavg"}
        parent = (self.desk.trail.latest() or {})["model"]
        model = f"{number:064x}"
        self.desk.trail.append(Commit(session, number, parent, model, combiners, receipt, aggregator, 1.7e9))

    def round(
        self,
        session: str,
        number: int,
        *,
        status: str = "committed",
        metrics: Mapping[str, float] | None = None,
        clients: Sequence[Mapping[str, str]] = (),
        **more: Any,
    ) -> None:
        """A train round's document, and one of its validation when there are metrics."""
        common = {"session": session, "round": number, "participants": [{"name": "a"}, {"name": "b"}], "refused": {}}
        ended = {"seconds": 1.25, "clients": [self.line() | dict(c) for c in clients], "model": f"{number:064x}"}
        self._round(common | ended | {"kind": "train", "status": status} | more)
        if metrics is not None:
            found = {"metrics": dict(metrics), "num_examples": 360, "clients": []}
            self._round(common | found | {"kind": "validate", "status": "committed"})

    def _round(self, document: dict[str, Any]) -> None:
        round_id = f"{document['session']}.{document['round']}.{document['kind']}.1"
        self.desk.state.insert("rounds", {"_id": round_id, "round_id": round_id, "started": 1.7e9} | document)

    @staticmethod
    def line() -> dict[str, str]:
        return {"name": "a", "status": "accepted", "code": "", "reason": "", "stderr_tail": ""}

    def failing(self, session: str, number: int) -> None:
        """A round in which the client with the nasty name failed."""
        client = {"name": NASTY, "status": "failed", "code": "entry_point_failed", "reason": f"exit code 1 {NASTY}"}
        self.round(session, number, clients=[client | {"stderr_tail": f"Traceback: {NASTY}"}, {"name": "b"}])


@contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    """A bench with an empty network."""
    desk = Desk.open(ReducerSettings(dir=folder))
    try:
        yield Bench(desk)
    finally:
        desk.close()
