"""What must hold after a fault: found wrong things are sentences; none is well."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fedn.aggregation.fedavg import fedavg
from fedn.aggregation.fold import Contribution, check_update
from fedn.errors import FednError
from fedn.model.safetensors import digest_of, load_tensors, open_model
from fedn.trail.records import lineage_of
from fedn.trail.walk import Walk, read_through
from test.faults.site import Site

Wrong = Iterator[str]


class Files:
    """The blobs that a walk over the trail reads."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def check_model(self, digest: str) -> bool:
        """The model's bytes have its digest."""
        self.check_receipt(digest)
        return True

    def check_receipt(self, digest: str) -> bytes:
        """The blob, verified."""
        path = self._site.blob(digest)
        return read_through(digest, [path.read_bytes()] if path.exists() else [], limit=2**30)


def models(session: Mapping[str, Any]) -> list[str]:
    """The models of a session's rounds."""
    return [line["model"] for line in session["rounds"]]


def session_is_whole(site: Site, session: Mapping[str, Any], *, clients: int) -> Wrong:
    """It has finished, every round at its first attempt with all clients, and so say its documents."""
    if session["status"] != "finished":
        yield f"the session {session['status']}: {session['code']}: {session['reason']}"
    for line in session["rounds"]:
        if (line["updates"], line["failures"]) != (clients, []):
            why = "; ".join(f"{f['name']} {f['status']}: {f['code']} {f['reason']}" for f in line["failures"])
            yield f"round {line['round']} has {line['updates']} updates ({why})"
        documents = site.get(f"/api/v1/sessions/{session['id']}/rounds/{line['round']}")["rounds"]
        found = sorted(
            (d["kind"], d["status"], sum(c["status"] == "accepted" for c in d["clients"])) for d in documents
        )
        if found != [("train", "committed", clients), ("validate", "committed", clients)]:
            yield f"the documents of round {line['round']} say {found}"


def models_are(session: Mapping[str, Any], expected: Sequence[str]) -> Wrong:
    """They are those of the undisturbed session (I1, I2, I4)."""
    found = models(session)
    if found != list(expected):
        yield f"other models: {[str(m)[:12] for m in found]}, not {[m[:12] for m in expected]}"


def nothing_was_trained_twice(site: Site, session_id: str) -> Wrong:
    """No training began that its client had finished and kept."""
    kept: set[tuple[int, str]] = set()
    for line in map(json.loads, (site.control / "runs").read_text().splitlines()):
        task = (line["round"], line["client"])
        if line["session"] != session_id:
            continue
        if line["event"] == "kept":
            kept.add(task)
        elif task in kept:
            yield f"{line['client']} trained again in round {line['round']}, though it had kept its update"


def trail_holds(site: Site, since: int) -> Wrong:
    """The records from number `since` on, a seed, follow from each other; each is the mean of its receipt's updates.

    I2, I3 and I5.
    """
    records = site.get("/api/v1/trail")["records"]
    before = records[since - 1] if since else None
    walk = Walk(Files(site), position=since)
    if before is not None:
        walk.previous, walk.model, walk.lineage = before["hash"], before["model"], lineage_of(before)
    try:
        for record in records[since:]:
            walk.step(record)
            if record["receipt"]:
                yield from mean_of_receipt(site, record)
    except FednError as error:
        yield f"the trail does not hold: {error.reason}"


def updates_of(site: Site, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The updates that a record's receipt names."""
    updates: list[dict[str, Any]] = json.loads(site.blob(record["receipt"]).read_bytes())["updates"]
    return updates


def mean_of_receipt(site: Site, record: Mapping[str, Any]) -> Wrong:
    """The model is the flat FedAvg, recomputed from the bytes of the updates that the receipt names."""
    updates = updates_of(site, record)
    paths = [site.control / "kept" / update["update"] for update in updates]
    if not all(path.exists() for path in paths):
        yield f"the receipt of round {record['round']} names an update that no client made"
        return
    schema = open_model(site.blob(record["parent"])).schema
    files = [open_model(path, schema=schema) for path in paths]
    weights = [update["num_examples"] for update in updates]
    contributions = [Contribution(f, w, check_update(f, schema)) for f, w in zip(files, weights, strict=True)]
    found = fedavg(contributions, schema=schema, out=site.control / "mean")
    if found != record["model"] or digest_of(site.blob(record["model"])) != found:
        yield f"the model of round {record['round']} is {record['model'][:12]}, the mean of its receipt {found[:12]}"
    yield from sampled_in_fractions(paths, weights, site.blob(record["model"]))


def sampled_in_fractions(paths: Iterable[Path], weights: Sequence[int], model: Path) -> Wrong:
    """A few elements again, by exact fractions: no float32 lies nearer to Σ w·x / Σ w."""
    values = [load_tensors(path)["w"] for path in paths]
    mean = load_tensors(model)["w"]
    for k in (0, 1, len(mean) // 2, len(mean) - 1):
        terms = (Fraction(w) * Fraction(float(v[k])) for w, v in zip(weights, values, strict=True))
        exact = sum(terms, Fraction()) / sum(weights)
        off = abs(Fraction(float(mean[k])) - exact)
        for toward in (-np.inf, np.inf):
            other = np.nextafter(mean[k], np.float32(toward))
            if abs(Fraction(float(other)) - exact) < off:
                yield f"element {k} of the mean is not the nearest float32"


def no_tracebacks(site: Site, since: Mapping[str, int]) -> Wrong:
    """Nothing went wrong that nobody had thought of."""
    for name in site.roles:
        lines = site.said(name, since).splitlines()
        for number, line in enumerate(lines):
            if line.startswith("Traceback"):
                end = itertools.takewhile(lambda text: text.startswith(" "), lines[number + 1 :])
                place = number + 1 + len(list(end))
                yield f"{name} has a traceback: {lines[place] if place < len(lines) else ''}"
                break
