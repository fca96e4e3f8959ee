"""MetisFL's stress grid: perceptrons of 106,081, 1,011,501 and 10,276,801 parameters × 10 to 200 clients, no training.

Each has 13 inputs, 101 hidden layers of 32, 100 or 320 units, and one output: 204 tensors. One combiner, a real
reducer, clients that hold nothing (bench/streams.py), sessions with validation; the first round of each is left out.
The phases are those that a round tells. Clients fetch a model once: it comes with the validation of the round before,
which is part of `validate`, so `dispatch`, until the last client has its task and the model, is short.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench import session, streams
from bench.command import command
from bench.disk import check_room
from bench.figure import Figure, of_samples
from bench.network import combiner, free_port, reducer
from fedn.cli.processes import Processes

WIDTHS, CLIENTS, ROUNDS = (32, 100), (10, 25, 50), 3
FULL_WIDTHS, FULL_CLIENTS = (32, 100, 320), (10, 25, 50, 100, 200)
PHASES = ("collect", "fold", "publish", "reduce", "commit", "validate")
NOTES = {
    "dispatch": "until the last client has its task and the model",
    "collect": "from the first task to the last update that is checked and durable",
    "validate": "the new model to the combiner and to every client, and their answers",
    "round": "from one record of the trail to the next, with the validation",
}


def run(
    *, widths: tuple[int, ...] = WIDTHS, clients: tuple[int, ...] = CLIENTS, rounds: int = ROUNDS, full: bool = False
) -> list[Figure]:
    """Seconds of each phase and of the round: medians of `rounds`. `full` is the whole grid: up to 200 × 41 MB."""
    if full:
        widths, clients = FULL_WIDTHS, FULL_CLIENTS
    return [figure for width in widths for count in clients for figure in cell(width, count, rounds)]


def cell(width: int, clients: int, rounds: int) -> list[Figure]:
    """One model, one number of clients."""
    with tempfile.TemporaryDirectory(prefix="fedn-bench-") as name:
        place, port = Path(name), free_port()
        seed = place / "seed"
        parameters = session.mlp(seed, width)
        check_room((clients + 12) * seed.stat().st_size)
        with Processes(place / "logs") as processes, reducer(processes, place / "reducer") as api:
            combiner(processes, place / "combiner", reducer=api.address, port=port)
            session.come_up(processes, api, combiners=1, clients=0)
            session.plant(place, api, seed)
            with streams.clients([f"127.0.0.1:{port}"], seed, clients) as moments:
                session.come_up(processes, api, combiners=1, clients=clients)
                found = session.train(api, rounds=rounds + 1, clients=clients, validate=True)
                seconds = seconds_of(found["rounds"][1:], streams.read(moments))
                seconds["round"] = session.seconds_between(session.ends(api))
    series = f"{parameters:,} parameters"
    return [
        of_samples(phase, samples, "s", note=NOTES.get(phase, ""), series=series, clients=clients)
        for phase, samples in seconds.items()
    ]


def seconds_of(rounds: list[dict[str, Any]], moments: list[streams.Moment]) -> dict[str, list[float]]:
    """Of each round the seconds of each phase."""
    dispatch = []
    for each in rounds:
        of = [moment for moment in moments if moment.round_id == each["round_id"]]
        last = max(moment.ready for moment in of) - min(moment.given for moment in of)
        dispatch.append(each["phases"]["stage"] + last)
    return {"dispatch": dispatch} | {phase: [each["phases"][phase] for each in rounds] for phase in PHASES}


if __name__ == "__main__":
    command(run)()
