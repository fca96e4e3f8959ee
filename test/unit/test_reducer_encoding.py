"""A session with an option is given to clients that know it; others are named, and work in sessions without it."""

from __future__ import annotations

from pathlib import Path

from fedn.errors import EncodingUnsupported
from fedn.reducer.views import session_view
from fedn.wire.encodings import KNOWN
from test.unit.combiner_bench import until
from test.unit.reducer_bench import learns, reducer
from test.unit.test_combiner_encoding import sends
from test.unit.test_reducer_sessions import create, ended, leading


async def test_a_client_that_cannot_takes_no_part_and_is_shown_with_the_reason(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        new = await laid.client("c0", "a", sends, encodings=KNOWN)
        old = await laid.client("c1", "a", learns(1.0))
        session = create(laid, wire_dtype="float16")
        document = laid.desk.sessions.get(session)
        view = session_view(laid.desk, document, await laid.network.survey())
        assert view["warnings"] == ["client c1 takes no part: its FEDn does not know float16"]
        async with leading(laid):
            assert (await ended(laid, session))["status"] == "finished"
        assert [len(client.tasks) for client in (new, old)] == [2, 0]
        view = session_view(laid.desk, laid.desk.sessions.get(session), await laid.network.survey())
        assert ([r["participants"] for r in view["rounds"]], view["warnings"]) == ([1, 1], [])


async def test_an_old_client_trains_in_a_session_without_the_option(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        old = await laid.client("c0", "a", learns(1.0))
        new = await laid.client("c1", "a", learns(2.0), encodings=KNOWN)
        session = create(laid, rounds=1)
        async with leading(laid):
            assert (await ended(laid, session))["status"] == "finished"
        assert [len(client.tasks) for client in (old, new)] == [1, 1]


async def test_a_session_with_too_few_that_can_says_so_with_a_code(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", sends, encodings=("float16",))
        await laid.client("c1", "a", learns(1.0))
        session = create(laid, clients_required=2, wait_timeout=0.3, wire_dtype="float16", compression="zstd")
        async with leading(laid):
            await until(lambda: laid.desk.sessions.get(session)["status"] == "waiting")
            found = await ended(laid, session)
        assert (found["status"], found["code"]) == ("failed", EncodingUnsupported.code)
        missing = "0 of 2 required clients that know float16 and zstd are connected; 2 do not know it: c0, c1"
        assert found["reason"] == f"{missing}, and wait_timeout (0.3 s) is over"


async def test_a_waiting_session_begins_when_a_client_that_can_comes(tmp_path: Path) -> None:
    async with reducer(tmp_path, combiners=("a",)) as laid:
        await laid.client("c0", "a", learns(1.0))
        session = create(laid, rounds=1, wire_dtype="bfloat16")
        async with leading(laid):
            await until(lambda: "1 do not know it: c0" in laid.desk.sessions.get(session)["reason"])
            await laid.client("c1", "a", sends, encodings=KNOWN)
            assert (await ended(laid, session))["status"] == "finished"
