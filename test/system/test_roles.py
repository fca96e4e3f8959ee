from __future__ import annotations

from test.system.network import Network


def test_smoke(fresh: Network) -> None:
    import time

    t = time.time()
    fresh.up(clients=2)
    print("up", time.time() - t)
    t = time.time()
    s = fresh.finished(fresh.start(rounds=3))
    print("3 rounds", time.time() - t, [r["seconds"] for r in s["rounds"]])
    print(fresh.clients_of(s["id"], 1))
