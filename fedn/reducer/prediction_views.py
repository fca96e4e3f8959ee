"""Predictions as plain data, and a prediction with all that its clients wrote as a stream of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedn.errors import ClientLost, FednError
from fedn.reducer.desk import Desk
from fedn.reducer.predicting import round_id_of
from fedn.reducer.prediction_blobs import read_predictions

LINE = ("name", "part", "combiner", "status", "code", "reason", "stderr_tail", "seconds", "size")


def prediction_view(document: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction without its clients."""
    config = {key: document["config"][key] for key in ("round_timeout", "seed", "settings", "client_settings")}
    keys = ("status", "code", "reason", "model", "package", "asked", "created", "ended")
    return {"id": document["_id"], **{key: document[key] for key in keys}, "config": config}


def client_views(desk: Desk, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A line per client that was asked, with the digest of what it wrote; empty until the round has ended."""
    round_ = desk.state.get("rounds", round_id_of(document["_id"])) or {}
    lines = [{key: line[key] for key in LINE} | {"digest": line["update"]} for line in round_.get("clients", [])]
    return lines + absent(document, [line["name"] for line in lines])


def absent(document: Mapping[str, Any], there: Sequence[str]) -> list[dict[str, Any]]:
    """Lines of those that were asked by name and did not take part; only when all is over."""
    if document["ended"] is None:
        return []
    blank = dict.fromkeys(LINE) | {"status": "missing", "code": ClientLost.code, "stderr_tail": "", "digest": ""}
    blank |= {"reason": "it was not connected when the prediction began", "seconds": 0.0, "size": 0}
    return [blank | {"name": name} for name in document["asked"] or () if name not in there]


def whole(desk: Desk, document: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    """The prediction with each client's `data`, of which one at a time is in memory."""
    yield json.dumps(prediction_view(document))[:-1].encode() + b', "clients": ['
    for number, line in enumerate(lines):
        yield (b", " if number else b"") + _with_data(desk, line)
    yield b"]}\n"


def _with_data(desk: Desk, line: Mapping[str, Any]) -> bytes:
    """The line with the JSON just as the entry point wrote it; null, and the trouble, when it cannot be had."""
    data, trouble = b"null", None
    if line["digest"] and line["status"] == "accepted":
        try:
            data = read_predictions(desk, line["digest"])
        except FednError as error:
            trouble = error.as_json()
    more = {} if trouble is None else {"error": trouble}
    return json.dumps({**line, **more})[:-1].encode() + b', "data": ' + data.strip() + b"}"
