"""What came of a round, client by client, and what follows from it: receipt, metrics, words for what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from fedn.errors import UpdateRefused
from fedn.reducer.participants import ConnectedClient
from fedn.wire.v1 import control_pb2 as control

Outcomes: TypeAlias = "Mapping[str, control.RoundOutcome]"


def check_outcome(outcome: control.RoundOutcome, asked: set[str], *, kind: str) -> None:
    """Raise UpdateRefused when a combiner speaks for clients that are not its own, or its weights do not add up (I2).

    The trail's receipt lists the clients' weights, and they must be those of the sum.
    """
    named = Counter(a.client_id for a in outcome.clients)
    strangers = sorted(set(named) - asked) or [client for client, count in named.items() if count > 1]
    if strangers:
        raise UpdateRefused(f"the combiner answered for {strangers[0]!r}, whom it was not asked, or twice")
    weight = sum(a.num_examples for a in outcome.clients if a.status == "accepted")
    if kind == "train" and not outcome.code and (weight != outcome.weight or bool(weight) != bool(outcome.sum)):
        raise UpdateRefused(f"the combiner's sum has weight {outcome.weight}, its clients' updates {weight}")


def phase_seconds(outcomes: Outcomes) -> dict[str, float]:
    """Seconds in each phase at the combiner that took the longest for it."""
    found: dict[str, float] = {}
    for outcome in outcomes.values():
        for phase, seconds in outcome.phase_s.items():
            found[phase] = max(found.get(phase, 0.0), seconds)
    return found


def troubles(lines: Sequence[Mapping[str, Any]], outcomes: Outcomes) -> str:
    """What went wrong in a round: how often which code, and one reason in full."""
    failed = [(o.code, f"{name}: {o.reason}") for name, o in sorted(outcomes.items()) if o.code]
    failed += [(line["code"], f"{line['name']}: {line['reason']}") for line in lines if line["code"]]
    if not failed:
        return "none was sent"
    counts = Counter(code for code, _ in failed)
    return ", ".join(f"{count} × {code}" for code, count in sorted(counts.items())) + f"; {failed[0][1]}"


def client_lines(participants: Sequence[ConnectedClient], outcomes: Outcomes) -> list[dict[str, Any]]:
    """One line per participant, by part: what it was asked, what came of it.

    What a combiner accepted does not count when the combiner then failed: it is in no sum.
    """
    answers = {(name, a.client_id): a for name, o in outcomes.items() for a in o.clients}
    lines = []
    for client in participants:
        outcome = outcomes[client.combiner]
        answer = answers.get((client.combiner, client.client_id))
        if answer is None or (outcome.code and answer.status == "accepted"):
            reason = outcome.reason or "the combiner did not say"
            answer = control.ClientOutcome(status="missing", code=outcome.code or "client_lost", reason=reason)
        lines.append(
            {
                "client_id": client.client_id,
                "name": client.name,
                "part": client.part,
                "combiner": client.combiner,
                "status": answer.status,
                "code": answer.code,
                "reason": answer.reason,
                "stderr_tail": answer.stderr_tail[-4096:],
                "update": answer.update,
                "num_examples": answer.num_examples,
                "metrics": dict(answer.metrics),
                "seconds": answer.seconds,
                "size": answer.size,
            }
        )
    return lines


def receipt_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """A client's line as the receipt lists it."""
    return {
        "client": line["client_id"],
        "combiner": line["combiner"],
        "update": line["update"],
        "num_examples": line["num_examples"],
    }


def weighted_metrics(lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], int]:
    """Each metric's mean over the clients that reported it, weighted by their examples; and all examples."""
    accepted = [line for line in lines if line["status"] == "accepted"]
    means = {}
    for name in sorted({name for line in accepted for name in line["metrics"]}):
        of = [line for line in accepted if name in line["metrics"]]
        weight = sum(line["num_examples"] for line in of)
        means[name] = sum(line["metrics"][name] * line["num_examples"] for line in of) / weight
    return means, sum(line["num_examples"] for line in accepted)
