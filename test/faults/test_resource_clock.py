"""The wall clock of every role jumps by an hour in the middle of a session, each its own way (libfaketime)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from test.faults.undisturbed import as_if_undisturbed
from test.system.network import Network, network, until

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
ROLES = ("reducer", "north", "c0")


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Network]:
    if LIBRARY is None:
        pytest.fail("libfaketime is not installed: the Debian package faketime has it")
    environ = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).with_name("unslept")),
    }
    with network(tmp_path, **environ) as made:
        for name in (*ROLES, "c1"):
            made.before[name] = ["env", f"FAKETIME_TIMESTAMP_FILE={tmp_path / name}.clock"]
            set_clock(made, name, "+0")
        made.up(clients=2)
        yield made


def set_clock(net: Network, name: str, offset: str) -> None:
    """Whole at every moment: the roles read it whenever they ask for the time."""
    fresh = net.folder / f"{name}.clock.new"
    fresh.write_text(f"{offset}\n")
    fresh.replace(net.folder / f"{name}.clock")


def test_clocks_that_jump_change_nothing(net: Network, tmp_path: Path) -> None:
    jumps = (("+1h", "-1h", "+1h"), ("-1h", "+1h", "-1h"))
    for number, offsets in enumerate(jumps, start=1):
        for leftover in ("runs", "go"):
            (net.folder / leftover).unlink(missing_ok=True)
        session = net.start(rounds=2, settings=net.moves(c0="wait@1", c1="wait@1"))
        until(lambda: len(net.runs()) == 2, "both train")
        for name, offset in zip(ROLES, offsets, strict=True):
            set_clock(net, name, offset)
        (net.folder / "go").touch()
        as_if_undisturbed(net, net.finished(session), made_in(tmp_path, number), names=("c0", "c1"))
        assert len(net.runs()) == 4, "nothing was trained twice"
    assert net.roles["reducer"].text.count("this worker leads") == 1, "the lease was held throughout"
    assert net.roles["north"].text.count("attached") == 2, "and every stream"
    told = [session["created"] for session in net.get("/api/v1/sessions")["sessions"]]
    assert max(told) - min(told) > 3000, "the reducer did see another time"
    net.roles["c1"].kill()
    (net.folder / "c1").rename(net.folder / "c1-before")  # with its identity
    net.client("c1")
    net.connected(2)


def made_in(folder: Path, number: int) -> Path:
    made = folder / f"session-{number}"
    made.mkdir()
    return made
