"""Clients that share a folder and a base of names, as scaled containers do."""

from __future__ import annotations

from test.system.network import Network, until

COUNT = 5


def test_scaled_clients_find_their_identities_parts_and_names_again(fresh: Network) -> None:
    """All are killed and started again, in no order: the same five come back (I9)."""
    fresh.reducer()
    fresh.ready()
    fresh.combiner("north", "--reconnect-grace-s", 0)
    until(lambda: any(c["up"] for c in fresh.get("/")["combiners"]), "the combiner is up")
    first = come(fresh)
    assert {(name, part) for _, name, part in first} == {(f"site-{k}", k) for k in range(COUNT)}
    assert sorted(path.name for path in (fresh.folder / "clients").iterdir()) == [str(k) for k in range(COUNT)]
    for k in range(COUNT):
        fresh.roles[f"client{k}"].kill()
    fresh.connected(0)
    assert come(fresh) == first


def come(net: Network) -> set[tuple[str, str, int]]:
    """Start all clients at once; id, name and part of each that is attached."""
    where = ["--reducer", net.address, "--dir", "clients", "--name-base", "site-"]
    for k in range(COUNT):
        net.run(f"client{k}", "run", "client", *where)
    net.connected(COUNT)
    attached = [c for combiner in net.get("/")["combiners"] for c in combiner["clients"]]
    return {(c["client_id"], c["name"], c["part"]) for c in attached}
