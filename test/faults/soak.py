"""`python -m test.faults.soak`: many rounds while every few seconds a process is killed, ended or frozen, by chance.

The chance is seeded. At the end every round must have all its updates and be their mean, the trail must verify, and
what each role holds (descriptors, threads, memory, files) must not have grown: its median in the last quarter of the
time is set beside that in the first.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import httpx

from test.faults import judge
from test.faults.play import FREEZE_S, SIGNALS, send
from test.faults.site import HOMES, Site, Ways, site
from test.system.network import command

ELEMENTS = 10_000
SAMPLE_S = 5.0
VICTIMS = ("reducer", "leader", "north", "south", *HOMES, "child")
WAYS = Ways(elements=ELEMENTS)


@dataclass(frozen=True)
class Sample:
    """What one role holds at one moment; the reducer's master and workers count as one."""

    role: str
    descriptors: int
    threads: int
    memory_mb: float
    files: int  # in its folder


class Trouble:
    """Hits somebody every few seconds until it is told to stop."""

    def __init__(self, site: Site, *, seed: int, every_s: float) -> None:
        self._site = site
        self._random = random.Random(seed)
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trouble", daemon=True)
        self.hits: Counter[str] = Counter()

    def __enter__(self) -> Trouble:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            who, how = self._random.choice(VICTIMS), self._random.choice(list(SIGNALS))
            pids = self._pids(who)
            if pids:
                self.hits[f"{who}, {how}"] += 1
                send(pids, SIGNALS[how])
                if how == "SIGSTOP":
                    self._over.wait(FREEZE_S)
                    send(pids, signal.SIGCONT)

    def _pids(self, who: str) -> list[int]:
        if who == "leader":
            return [self._site.leader()]
        if who == "child":
            return list(scripts(self._site))[:1]
        return [-self._site.roles[who].process.pid]


def scripts(site: Site) -> Iterator[int]:
    """The training processes that run now."""
    for pid, line in site.left().items():
        if "train.py" in line or "worker_main" in line:
            yield pid


def group(leader: int) -> Iterator[Path]:
    """The processes of a group."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if folder.name.isdigit() and os.getpgid(int(folder.name)) == leader:
                yield folder


def sample(site: Site, role: str) -> Sample:
    """What a role holds now."""
    descriptors = threads = 0
    memory = 0.0
    for folder in group(site.roles[role].process.pid):
        with suppress(OSError):
            descriptors += len(list((folder / "fd").iterdir()))
            threads += len(list((folder / "task").iterdir()))
            memory += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    where = site.folder / role / ("scratch" if role == "reducer" else "")
    return Sample(role, descriptors, threads, memory, sum(len(files) for _, _, files in os.walk(where)))


def table(samples: list[list[Sample]]) -> Iterator[str]:
    """Each role's median in the first and in the last quarter of the time."""
    quarter = max(1, len(samples) // 4)
    yield f"{'role':<10}{'descriptors':>18}{'threads':>18}{'memory, MB':>18}{'files':>18}"
    for k, role in enumerate(s.role for s in samples[0]):
        cells = []
        for what in ("descriptors", "threads", "memory_mb", "files"):
            first, last = (
                statistics.median(getattr(at[k], what) for at in part)
                for part in (samples[:quarter], samples[-quarter:])
            )
            cells.append(f"{first:.0f} → {last:.0f}".rjust(18))
        yield f"{role:<10}" + "".join(cells)


@click.command()
@click.option("--rounds", default=500, show_default=True, help="How many rounds.")
@click.option("--every-s", default=5.0, show_default=True, help="Time between two hits.")
@click.option("--seed", default=1, show_default=True, help="Fixes who is hit, and how.")
@click.option("--limit-s", default=3600.0, show_default=True, help="Give up after this time.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was found to this file.")
def main(rounds: int, every_s: float, seed: int, limit_s: float, json_file: Path | None) -> None:
    """Train for many rounds while every few seconds a process is killed, ended or frozen."""
    folder = Path(tempfile.mkdtemp(prefix="fedn-soak-"))
    click.echo(f"logs in {folder}")
    with site(folder / "site", WAYS) as here:
        config = {"rounds": rounds, "clients_required": len(HOMES), "attempts": 10, "round_timeout": 60}
        session_id, began, samples = here.start(**config), time.monotonic(), list[list[Sample]]()
        ended: dict[str, object] = {}
        with Trouble(here, seed=seed, every_s=every_s) as trouble:
            while not ended and time.monotonic() - began < limit_s:
                time.sleep(SAMPLE_S)
                samples.append([sample(here, role) for role in sorted(here.roles)])
                with suppress(AssertionError, httpx.TransportError):
                    session = here.session(session_id)
                    ended = session if session["ended"] else {}
                    click.echo(
                        f"{time.monotonic() - began:6.0f} s  round {session['round']:4}  hits {trouble.hits.total()}"
                    )
        seconds = time.monotonic() - began
        here.at_home()
        wrong = [*judge.trail_holds(here, 0), *judge.no_tracebacks(here, {})]
        if not ended:
            wrong.append(f"not ended after {limit_s:g} s")
        elif ended["status"] != "finished":
            wrong.append(f"the session {ended['status']}: {ended['code']}: {ended['reason']}")
        verified = command("trail", "verify", "--reducer", here.address)
        if verified.returncode:
            wrong.append(verified.stderr)
        final = here.session(session_id)
        updates = Counter(line["updates"] for line in final["rounds"])
        if set(updates) != {len(HOMES)}:
            wrong.append(f"rounds by their number of updates: {dict(updates)}")
    click.echo("\n".join(table(samples)))
    hits = ", ".join(f"{count} × {what}" for what, count in sorted(trouble.hits.items()))
    click.echo(f"{len(final['rounds'])} rounds in {seconds:.0f} s, {trouble.hits.total()} hits ({hits})")
    click.echo(verified.stdout.strip())
    click.echo("\n".join(f"WRONG: {what}" for what in wrong) or "nothing is wrong")
    if json_file is not None:
        told = {"rounds": rounds, "seconds": seconds, "hits": trouble.hits, "wrong": wrong}
        told["samples"] = [[asdict(s) for s in at] for at in samples]
        json_file.write_text(json.dumps(told, indent=2) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
