"""The sandbox on the terminal: a bar per round while it runs, a table at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedn.cli import target

BAR_WIDTH = 24
MANY = 6  # names that fit on a line


class Live:
    """Progress of a session. The bar of the running round moves; a finished round is one line above it."""

    def __init__(self, rounds: int) -> None:
        self._console = Console(highlight=False)
        self._rounds = rounds
        self._bars: dict[int, TaskID] = {}
        self._told: set[int] = set()
        self._connecting: TaskID | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR_WIDTH),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )

    def __enter__(self) -> Live:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def finish(self) -> None:
        """The last word of the live part."""
        self._progress.stop()

    def say(self, line: str) -> None:
        """A line above the bars."""
        self._progress.console.print(line, soft_wrap=True)

    def connecting(self, connected: int, clients: int) -> None:
        """Clients come in."""
        if self._connecting is None:
            self._connecting = self._progress.add_task("connecting", total=clients, note="")
        self._progress.update(self._connecting, completed=connected, note=f"{connected} of {clients} clients")
        if connected >= clients:
            self._progress.remove_task(self._connecting)

    def show(self, session: dict[str, Any]) -> None:
        """The session as it stands."""
        for line in session["rounds"]:
            self._round(line, session)

    def _round(self, line: dict[str, Any], session: dict[str, Any]) -> None:
        number, steps = line["round"], 2 * line["participants"]
        title = f"round {number:>{len(str(self._rounds))}}/{self._rounds}"
        if number in self._told:
            return
        if number not in self._bars:
            self._bars[number] = self._progress.add_task(title, total=steps, note="")
        live = session["live"]
        over = line["accuracy"] is not None or session["ended"] is not None or number < session["round"]
        if line["status"] == "committed" and over:
            self._told.add(number)
            self._progress.remove_task(self._bars.pop(number))
            bar = f"[green]{'━' * BAR_WIDTH}[/] " if self._console.is_terminal else ""
            self.say(f"{title} {bar}{summary(line)}")
        elif live is not None and live["round"] == number:
            half = line["participants"] if live["kind"] == "validate" else 0
            done = half + live["answered"] + live["failed"]
            self._progress.update(self._bars[number], total=steps, completed=done, note=busy(live))


def busy(live: dict[str, Any]) -> str:
    """Who works on what."""
    verb = "validating" if live["kind"] == "validate" else "training"
    names = live["busy"]
    if not names:
        return ", ".join(live["phases"])
    shown = ", ".join(names[:MANY])
    return f"{verb}: {shown}" + (f" and {len(names) - MANY} more" if len(names) > MANY else "")


def summary(line: dict[str, Any]) -> str:
    """A finished round in a few words."""
    words = [f"{line['seconds']:6.2f} s  {line['updates']} clients"]
    for name in ("loss", "accuracy"):
        if line[name] is not None:
            words.append(f"{name} {line[name]:.4f}")
    if line["failures"]:
        words.append(f"[yellow]{len(line['failures'])} failed: {line['failures'][0]['code']}[/]")
    return "  ".join(words)


def closing_table(result: dict[str, Any], records: int) -> None:
    """The result: one row per round, and whether the trail holds."""
    console = Console(highlight=False)
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for column in ("round", "participants", "seconds", "loss", "accuracy", "model"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for line in result["rounds"]:
        numbers = [f"{line['seconds']:.2f}", *(decimal(line[name]) for name in ("loss", "accuracy"))]
        table.add_row(str(line["round"]), str(line["participants"]), *numbers, line["model_id"][:12])
    console.print()
    console.print(table)
    console.print()
    for words in (*target.in_words(result["target"]), *memory_in_words(result)):
        console.print(words, soft_wrap=True)
    if result["trail_verified"]:
        console.print(f"[green]trail verified[/]: {records} records, final model {result['final_model_id'][:12]}…")


def memory_in_words(result: dict[str, Any]) -> Iterator[str]:
    """What the process that hosts all clients took."""
    if result["memory"] is not None:
        own, largest, together = (f"{value / 2**20:.0f} MiB" for value in result["memory"].values())
        peak = f"the pool process {own}, its workers {largest} at most each and {together} together"
        yield f"{len(result['rounds'])} rounds in {target.clock(result['wall_s'])}; peak memory: {peak}"


def decimal(value: float | None) -> str:
    """Four places, or a dash."""
    return "–" if value is None else f"{value:.4f}"
