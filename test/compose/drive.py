"""Drives a deployment that is up, over REST with the admin token, and checks what it does; called by `.ci/compose`.

`first` sends package and seed, trains three rounds and notes who was there; `again`, after all containers went and
came back, trains one more and finds the same clients, with the same names and parts, and the trail grown by one record.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

FEDN = str(Path(sys.executable).with_name("fedn"))
PROJECT = "test/digits"
COMBINERS, CLIENTS = 2, 5
PATIENCE_S = 180.0
LOOK_S = 0.25

T = TypeVar("T")


def until(look: Callable[[], T | None], what: str) -> T:
    """The first true value that `look` gives; a reducer that does not answer yet counts as false."""
    deadline, found = time.monotonic() + PATIENCE_S, None
    while time.monotonic() < deadline:
        try:
            found = look()
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            found, seen = None, str(error)
        else:
            seen = repr(found)
        if found:
            return found
        time.sleep(LOOK_S)
    raise SystemExit(f"did not happen within {PATIENCE_S:g} s: {what}; last seen: {seen}")


def say(text: str) -> None:
    sys.stdout.write(f"        {text}\n")
    sys.stdout.flush()


class Deployment:
    """The reducer's REST interface, with the admin token of the environment."""

    def __init__(self, address: str) -> None:
        self.address = address
        token = os.environ["FEDN_ALLIANCE_ADMIN_AUTH_TOKEN"]
        self._http = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()

    def command(self, *words: str) -> str:
        """`fedn …` on this machine: it takes the token from the environment too."""
        done = subprocess.run([FEDN, *words, "--reducer", self.address], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"fedn {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def who(self) -> dict[str, tuple[str, int]] | None:
        """Name and part of each client by its id, when all combiners and clients are there."""
        combiners = self.get("/api/v1/network")["combiners"]
        clients = [client for combiner in combiners for client in combiner["clients"]]
        if sum(combiner["up"] for combiner in combiners) != COMBINERS or len(clients) != CLIENTS:
            return None
        return {client["client_id"]: (client["name"], client["part"]) for client in clients}

    def train(self, rounds: int) -> None:
        """Run a session to its end, and tell its rounds."""
        session = self.post("/start", {"rounds": rounds, "clients_required": CLIENTS, "seed": 1})["session"]
        path = f"/api/v1/sessions/{session}"

        def ended() -> Any:
            found = self.get(path)
            return found if found["status"] not in ("waiting", "running") else None

        found = until(ended, f"session {session} ends")
        for line in found["rounds"]:
            say(f"round {line['round']}: {line['updates']} updates, accuracy {line['accuracy']:.4f}")
        expect(found["status"] == "finished", f"the session is {found['status']}: {found['reason']}")
        expect([line["updates"] for line in found["rounds"]] == [CLIENTS] * rounds, "each round has an update of each")


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"it does not hold that {what}")


def closed_without_a_token(address: str) -> None:
    for path in ("/", "/api/v1/network", "/api/v1/trail"):
        status = httpx.get(address + path, headers={"Accept": "application/json"}).status_code
        expect(status == httpx.codes.UNAUTHORIZED, f"{path} asks for a token (it answers {status})")


def first(deployment: Deployment, notes: Path) -> None:
    people = until(deployment.who, "two combiners are up, and five clients attached")
    base = os.environ["CLIENT_NAME_BASE"]
    expect(
        sorted(people.values()) == [(f"{base}{k}", k) for k in range(CLIENTS)], f"clients have their names: {people}"
    )
    say(f"two combiners; five clients: {', '.join(sorted(name for name, _ in people.values()))}")
    closed_without_a_token(deployment.address)
    say(deployment.command("package", "upload", PROJECT))
    say(deployment.command("model", "seed", PROJECT))
    deployment.train(3)
    say(deployment.command("trail", "verify"))
    records = deployment.get("/api/v1/trail")["records"]
    expect(len(records) == 4, "the trail holds the seed and three rounds")
    notes.write_text(json.dumps({"people": people, "records": records}))


def again(deployment: Deployment, notes: Path) -> None:
    before = json.loads(notes.read_text())
    people = until(deployment.who, "two combiners are up, and five clients attached")
    expect(
        {k: list(v) for k, v in people.items()} == before["people"], f"they are the same clients as before: {people}"
    )
    say("the same five clients, under the same names")
    deployment.train(1)
    say(deployment.command("trail", "verify"))
    records = deployment.get("/api/v1/trail")["records"]
    expect(records[:-1] == before["records"], "the trail has grown by one record, and is otherwise as it was")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reducer", required=True)
    parser.add_argument("--notes", required=True, type=Path)
    parser.add_argument("which", choices=("first", "again"))
    given = parser.parse_args()
    deployment = Deployment(given.reducer)
    {"first": first, "again": again}[given.which](deployment, given.notes)


if __name__ == "__main__":
    main()
