"""What the reducer shows, as plain data: the same for JSON, the pages and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fedn import __version__
from fedn.errors import ModelMissing
from fedn.reducer.attendance import unfit
from fedn.reducer.desk import Desk
from fedn.reducer.network import Seen
from fedn.reducer.session_config import SessionConfig
from fedn.reducer.sessions import ACTIVE

WARNINGS = 20  # so many are enough to see what is wrong


def combiner_view(seen: Seen) -> dict[str, Any]:
    """One combiner and its clients."""
    clients = [] if seen.report is None else seen.report.clients
    return {
        "name": seen.name,
        "address": seen.address,
        "up": seen.up,
        "reason": seen.reason,
        "late": 0 if seen.report is None else seen.report.late,
        "clients": [
            {"client_id": c.client_id, "name": c.name, "part": c.part, "task": c.task, "cpus": c.cpus}
            for c in sorted(clients, key=lambda c: c.part)
        ],
    }


def network_view(desk: Desk, seen: Sequence[Seen]) -> dict[str, Any]:
    """The state of the network."""
    package = desk.state.get("context", "package")
    records = desk.state.count("trail")
    latest, missing = newest(desk)
    seed = desk.trail.seed()
    session = desk.sessions.active() or next(iter(desk.sessions.all()), None)
    return {
        "version": __version__,
        "combiners": [combiner_view(c) for c in seen],
        "connected": sum(len(c.clients()) for c in seen),
        "seed": seed["model"] if seed else None,
        "package": None if package is None else {k: package[k] for k in ("digest", "name", "size")},
        "trail": {"records": records, "latest": latest and latest["model"], "missing": missing},
        "session": None if session is None else session_view(desk, session, seen),
    }


def newest(desk: Desk) -> tuple[dict[str, Any] | None, str | None]:
    """The trail's newest record, and what is said when the blob store lacks its model."""
    try:
        return desk.check_newest(), None
    except ModelMissing as error:
        return desk.trail.latest(), error.reason


def session_view(desk: Desk, session: dict[str, Any], seen: Sequence[Seen]) -> dict[str, Any]:
    """A session, its rounds so far, and what it does now."""
    rounds = rounds_view(desk, session["_id"])
    return {
        "id": session["_id"],
        "status": session["status"],
        "code": session["code"],
        "reason": session["reason"],
        "config": session["config"],
        "warnings": warnings(desk, session) + (left_out(session, seen) if session["slot"] == ACTIVE else []),
        "lineage": desk.trail.lineage_of_session(session["_id"]),
        "created": session["created"],
        "ended": session["ended"],
        "round": sum(r["status"] == "committed" for r in rounds),
        "rounds": rounds,
        "live": live_view(session["_id"], seen) if session["slot"] == ACTIVE else None,
    }


def warnings(desk: Desk, session: dict[str, Any]) -> list[str]:
    """What a person may have meant otherwise: settings for names that no client has had, though one may come."""
    named = session["config"].get("client_settings")
    if not named:
        return []
    strangers = sorted(set(named) - {client.get("name") for client in desk.state.find("clients")})
    return [f"client_settings name {name!r}, and no client has had this name" for name in strangers[:WARNINGS]]


def left_out(session: dict[str, Any], seen: Sequence[Seen]) -> list[str]:
    """Who is connected and takes no part, because its FEDn does not know what the session asks for."""
    encodings = SessionConfig.parse(session["config"]).encodings
    if not encodings:
        return []
    there = {client.client_id: client for combiner in seen for client in combiner.clients()}
    unable = sorted(unfit(there.values(), encodings), key=lambda client: client.name)
    lacks = [(client.name, " and ".join(sorted(set(encodings) - client.encodings))) for client in unable]
    return [f"client {name} takes no part: its FEDn does not know {what}" for name, what in lacks[:WARNINGS]]


def rounds_view(desk: Desk, session_id: str) -> list[dict[str, Any]]:
    """One line per round number: its last attempt, with the validation of its model."""
    documents = desk.state.find("rounds", where={"session": session_id}, sort="started")
    validations = {d["round"]: d for d in documents if d["kind"] == "validate"}
    lines = {d["round"]: round_line(d, validations.get(d["round"])) for d in documents if d["kind"] == "train"}
    return [lines[number] for number in sorted(lines)]


def round_line(train: dict[str, Any], validation: dict[str, Any] | None) -> dict[str, Any]:
    """A round as tables and plots show it."""
    measured = (validation or {}).get("metrics") or {}
    clients, validated_s = train.get("clients", []), (validation or {}).get("seconds")
    return {
        "round": train["round"],
        "round_id": train["round_id"],
        "status": train["status"],
        "code": train.get("code", ""),
        "reason": train.get("reason", ""),
        "participants": len(train["participants"]),
        "updates": sum(c["status"] == "accepted" for c in clients),
        "seconds": train.get("seconds"),
        "phases": train.get("phases", {}) | ({"validate": validated_s} if validated_s else {}),
        "model": train.get("model"),
        "training": train.get("metrics", {}),
        "validation": measured,
        "validated": (validation or {}).get("num_examples", 0),
        "loss": measured.get("loss"),
        "accuracy": measured.get("accuracy"),
        "refused": train.get("refused", {}),
        "losses": train.get("losses", []),
        "failures": [
            {k: c[k] for k in ("name", "status", "code", "reason", "stderr_tail")}
            for c in [*clients, *(validation or {}).get("clients", [])]
            if c["status"] != "accepted"
        ],
    }


def live_view(session_id: str, seen: Sequence[Seen]) -> dict[str, Any] | None:
    """What the combiners report of the session's round, as long as it has not ended; None between rounds."""
    found = [
        (r.round_id, r.progress)
        for c in seen
        if c.report is not None
        for r in c.report.rounds
        if r.round_id.startswith(f"{session_id}.")
    ]
    if not found:
        return None
    # One that was lost and is back may still be at an older round, which nobody waits for.
    newest = max((round_id for round_id, _ in found), key=order_of)
    running = [(round_id, progress) for round_id, progress in found if round_id == newest]
    _, number, kind, _ = newest.rsplit(".", 3)
    names = {c.client_id: c.name for s in seen if s.report is not None for c in s.report.clients}
    phases = {progress.phase for _, progress in running} - {"done"}
    return {
        "round": int(number),
        "kind": kind,
        "phases": sorted(phases) or ["reduce"],
        "participants": sum(progress.participants for _, progress in running),
        "answered": sum(progress.answered for _, progress in running),
        "failed": sum(progress.failed for _, progress in running),
        "busy": sorted(names.get(client, client) for _, progress in running for client in progress.busy),
    }


def order_of(round_id: str) -> tuple[int, bool, int]:
    """Which of a session's rounds is later: by number; its validation comes after the training and its attempts."""
    _, number, kind, attempt = round_id.rsplit(".", 3)
    return int(number), kind == "validate", int(attempt)
