"""The trail of a real network: exported, verified where no reducer is, begun anew."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from fedn.model.safetensors import write_model
from test.system.network import Network, command, complained


@pytest.fixture(scope="module")
def exported(running: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a trail with a session of two rounds."""
    running.finished(running.start(rounds=2, validate=False))
    file = tmp_path_factory.mktemp("exported") / "trail.tar"
    done = running.fedn("trail", "export", file, "--json")
    assert json.loads(done.stdout) == {"file": str(file), "size": file.stat().st_size, "models": "all"}, done.stderr
    assert [path.name for path in file.parent.iterdir()] == ["trail.tar"]
    return file


def test_a_trail_is_verified_from_its_file_alone(net: Network, exported: Path) -> None:
    online, offline = net.fedn("trail", "verify", "--json"), command("trail", "verify", exported, "--json")
    assert offline.returncode == 0, offline.stderr
    assert json.loads(online.stdout) == json.loads(offline.stdout)
    assert json.loads(offline.stdout)["left_out"] == 0
    again = exported.with_name("again.tar")
    assert net.fedn("trail", "export", again).returncode == 0
    assert again.read_bytes() == exported.read_bytes()


def test_models_can_be_left_out(net: Network, exported: Path, tmp_path: Path) -> None:
    assert net.fedn("trail", "export", tmp_path / "small.tar", "--models", "none").returncode == 0
    said = command("trail", "verify", tmp_path / "small.tar").stdout.splitlines()
    records = net.get("/api/v1/trail")["records"]
    assert said[1:] == [
        f"not checked: {len(records)} models, which were left out of the file",
        f"last record: {records[-1]['hash']}",
    ]


def test_a_file_that_was_tampered_with_is_named(exported: Path, tmp_path: Path) -> None:
    content = exported.read_bytes()
    weight = re.search(rb'"weight":(\d)', content)
    assert weight is not None
    forged = tmp_path / "forged.tar"
    forged.write_bytes(content[: weight.start(1)] + bytes([weight[1][0] ^ 1]) + content[weight.end(1) :])
    said = complained(command("trail", "verify", forged), code="trail_broken", exit_code=8)
    assert "record 1: its content does not match its hash" in said
    forged.write_bytes(content[:-5000])
    complained(command("trail", "verify", forged), code="trail_file_invalid", exit_code=2)


def test_a_hash_that_was_noted_must_be_in_it(exported: Path) -> None:
    last = command("trail", "verify", exported).stdout.split()[-1]
    assert command("trail", "verify", exported, "--known", last).returncode == 0
    unknown = command("trail", "verify", exported, "--known", "0" * 64)
    assert "no record has the hash" in complained(unknown, code="trail_broken", exit_code=8)


def test_an_export_that_cannot_be_written_leaves_nothing(net: Network, exported: Path, tmp_path: Path) -> None:
    away = net.fedn("trail", "export", tmp_path / "away" / "trail.tar")
    complained(away, code="folder_unusable", exit_code=2)
    assert list(tmp_path.iterdir()) == []


def test_verify_names_a_trail_whose_end_was_cut_in_the_store(fresh: Network, exported: Path) -> None:
    """By hand in the database: the session knows how far it came."""
    fresh.up(clients=1)
    session = fresh.finished(fresh.start(rounds=2, validate=False, clients_required=1))["id"]
    store = sqlite3.connect(fresh.folder / "reducer" / "state.db")
    with store:
        store.execute("DELETE FROM trail WHERE json_extract(document, '$.round') = 2")
    store.close()
    said = complained(fresh.fedn("trail", "verify"), code="trail_broken", exit_code=8)
    assert f"session {session} finished with 2 rounds, and the trail ends after 1 of them" in said


def test_a_new_lineage_trains_anew_and_the_trail_keeps_the_old_one(net: Network, exported: Path) -> None:
    before = net.get("/api/v1/trail")["records"]
    seed = net.folder / "other.safetensors"
    digest = write_model(seed, {"w": np.full(8, 3, np.float32), "steps": np.zeros(1, np.int64)})
    complained(net.fedn("model", "seed", seed), code="seed_exists", exit_code=4)
    waiting = net.start(rounds=1, clients_required=99)
    refused = net.fedn("model", "seed", seed, "--new-lineage")
    assert waiting in complained(refused, code="session_running", exit_code=4)
    net.stop_sessions()
    planted = json.loads(net.fedn("model", "seed", seed, "--new-lineage", "--json").stdout)
    assert (planted["model"], planted["lineage"]) == (digest, 2)
    session = net.start(rounds=2, validate=False)
    assert net.finished(session)["lineage"] == 2
    records = net.get("/api/v1/trail")["records"]
    assert records[: len(before)] == before
    begun, first, second = records[len(before) :]
    assert (begun["parent"], begun["lineage"], first["parent"], second["parent"]) == ("", 2, digest, first["model"])
    assert "seed of lineage 2" in net.fedn("trail", "list").stdout
    verified = json.loads(net.fedn("trail", "verify", "--json").stdout)
    assert (verified["records"], verified["lineages"]) == (len(records), 2)
