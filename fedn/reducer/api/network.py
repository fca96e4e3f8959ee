"""`/`, `/add`, `/assign`, `/health`, `/ready`: who is there, and who comes in."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping

from flask import Blueprint, Response, after_this_request, request
from flask.typing import ResponseReturnValue

from fedn.errors import BadInput, FednError, Unavailable
from fedn.reducer import discovery
from fedn.reducer.api import Office, fields_of, shown
from fedn.reducer.herd import Herd
from fedn.reducer.probe import Probe
from fedn.reducer.views import network_view


def blueprint(office: Office) -> Blueprint:
    """The routes of the network."""
    routes, desk, engine = Blueprint("network", __name__), office.desk, office.engine
    probe, herd, deciding, ages = Probe(desk), Herd(desk.state), threading.Lock(), discovery.Ages()

    @routes.get("/")
    @routes.get("/api/v1/network")
    def state() -> ResponseReturnValue:
        """The state of the network."""
        return shown("network.html", network_view(desk, engine.ask(lambda network: network.survey())))

    @routes.get("/assign")
    def assign() -> ResponseReturnValue:
        """A client asks where to go (`client_id`, `name` or `name_base`, `combiner` for a preferred one).

        When it cannot be said now, `Retry-After` says within how many seconds to ask again, at a random moment; so
        does `spread_s` of the answer for when the stream to the combiner ends.
        """
        wanted = asked_for(request.args)
        try:
            seen = engine.ask(lambda network: network.recent())
            seat = discovery.assign(desk.state, seen, wanted, deciding=deciding, ages=ages)
        except Unavailable:
            after_this_request(lambda answer: told_when(answer, herd.retry_after_s()))
            raise
        return seat | {"spread_s": herd.spread_s()}

    @routes.post("/add")
    def add() -> ResponseReturnValue:
        """A combiner says where it is (`name`, `identity`, `address`)."""
        given = fields_of(request)
        unknown = set(given) - {"name", "identity", "address"}
        if unknown:
            raise BadInput(f"unknown keys: {', '.join(sorted(unknown))}")
        values = {key: given.get(key, "") for key in ("name", "identity", "address")}
        if not all(isinstance(value, str) for value in values.values()):
            raise BadInput("name, identity and address are texts")
        seen = engine.ask(lambda network: network.survey())
        discovery.add_combiner(desk.state, seen, **values)
        return {"name": values["name"]}, 201

    @routes.get("/health")
    def health() -> ResponseReturnValue:
        """The process answers."""
        return {"status": "ok"}

    @routes.get("/ready")
    def ready() -> ResponseReturnValue:
        """The stores answer and hold the newest model, so the process can do its work; said within seconds."""
        try:
            probe.check()
        except FednError as error:
            return {"status": "not ready", "error": error.as_json()}, 503
        return {"status": "ready"}

    return routes


def asked_for(given: Mapping[str, str]) -> discovery.Request:
    """What a client asks for. Raises BadInput."""
    return discovery.Request(
        client_id=given.get("client_id", ""),
        name=given.get("name") or None,
        name_base=given.get("name_base") or None,
        preferred=given.get("combiner") or None,
    )


def told_when(answer: Response, seconds: float) -> Response:
    """The answer, with the time after which to ask again."""
    answer.headers["Retry-After"] = str(math.ceil(seconds))
    return answer
