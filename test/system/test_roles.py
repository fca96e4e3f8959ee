"""Reducer, combiners and clients as processes: how they start, refuse to start, die, come back and end."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from test.system.network import PUPPET, Network, command, complained, free_port, network, until

NOBODY = "http://127.0.0.1:9"
ROLES = ("reducer", "combiner", "client")
STOP_S = 5.0


@pytest.mark.parametrize("role", ["reducer", "combiner"])
def test_a_taken_port_is_one_sentence(role: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("run", role, "--port", port, cwd=tmp_path)
    assert f"127.0.0.1:{port}" in complained(done, code="port_taken", exit_code=5)


@pytest.mark.parametrize("role", ROLES)
def test_a_folder_that_cannot_be_made_is_one_sentence(role: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("run", role, "--dir", "file/folder", cwd=tmp_path)
    assert str(tmp_path / "file" / "folder") in complained(done, code="folder_unusable", exit_code=2)


@pytest.mark.parametrize("role", ROLES)
def test_a_second_process_in_a_folder_is_turned_away(role: str, fresh: Network) -> None:
    fresh.reducer()
    fresh.ready()
    if role == "combiner":
        fresh.combiner().says("listens on")
    if role == "client":
        fresh.client("c0").says("no combiner")
    folder = {"reducer": "reducer", "combiner": "north", "client": "c0"}[role]
    port = () if role == "client" else ("--port", 0)
    done = command("run", role, "--dir", folder, *port, cwd=fresh.folder)
    assert str(fresh.folder / folder) in complained(done, code="conflict", exit_code=4)


@pytest.mark.parametrize("role", ["combiner", "client"])
def test_a_role_without_its_reducer_says_so_in_sentences_and_keeps_trying(role: str, fresh: Network) -> None:
    lonely = fresh.run(role, "run", role, "--reducer", NOBODY, "--dir", role, "--log-level", "debug")
    lonely.says(f"the reducer at {NOBODY} does not answer", times=2)
    assert "Traceback" not in lonely.text
    assert lonely.stop() == 0
    assert all(line.count(" ") > 2 and f"{role}" in line for line in lonely.text.splitlines()), lonely.text


@pytest.mark.parametrize("role", ROLES)
def test_an_unknown_key_in_a_settings_file_is_named_with_its_line(role: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("# mine\nlog_level: info\nlog_levl: info\n")
    done = command("run", role, "--settings", "settings.yaml", cwd=tmp_path)
    said = complained(done, code="config_invalid", exit_code=2)
    assert "settings.yaml:3: unknown key 'log_levl'; did you mean 'log_level'?" in said


@pytest.mark.parametrize("role", ROLES)
def test_a_wrong_setting_names_where_it_comes_from(role: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("log_level: loud\n")
    variable = f"FEDN_{role.upper()}_LOG_LEVL"
    for arguments, environ, said in (
        (["--settings", "settings.yaml"], {}, "settings.yaml:1: log_level: expected one of"),
        (["--settings", "nothing.yaml"], {}, "nothing.yaml"),
        (["--log-level", "loud"], {}, "--log-level: expected one of debug, info"),
        ([], {variable: "info"}, f"unknown environment variable '{variable}'; did you mean"),
    ):
        done = command("run", role, *arguments, cwd=tmp_path, **environ)
        assert said in complained(done, code="config_invalid", exit_code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]


def test_roles_find_each_other_in_any_order(fresh: Network) -> None:
    fresh.address = f"http://127.0.0.1:{free_port()}"
    fresh.client("c0").says("does not answer")
    fresh.combiner().says("does not answer")
    fresh.client("c1").says("does not answer")
    fresh.reducer()
    fresh.ready()
    fresh.plant()
    fresh.connected(2)
    assert fresh.finished(fresh.start(rounds=1, clients_required=2))["rounds"][0]["updates"] == 2


def test_the_readme_tour_works_with_names_alone(fresh: Network) -> None:
    """Several roles in one working folder, and nothing given but names."""
    fresh.address = f"http://127.0.0.1:{free_port()}"
    fresh.run("reducer", "run", "reducer", "--port", fresh.address.rpartition(":")[2])
    fresh.ready()
    fresh.run("combiner", "run", "combiner", "--reducer", fresh.address)
    for name in ("client-1", "client-2"):
        fresh.run(name, "run", "client", "--name", name, "--reducer", fresh.address)
    assert fresh.fedn("package", "upload", PUPPET).returncode == 0
    assert fresh.fedn("model", "seed", PUPPET).returncode == 0
    fresh.connected(2)
    assert fresh.finished(fresh.start(rounds=1, clients_required=2))["rounds"][0]["updates"] == 2
    assert [path.name for path in fresh.folder.iterdir() if path.is_dir()] == [".fedn"]


# ── names, parts, preferences ──


def test_a_second_client_of_a_name_is_told_and_ends(fresh: Network) -> None:
    fresh.up(clients=1)
    second = fresh.run("second", "run", "client", "--name", "c0", "--reducer", fresh.address, "--dir", "second")
    assert second.ends() == 4
    assert "c0" in second.text.splitlines()[-1]
    assert second.text.rstrip().endswith("[name_taken]")
    assert "Traceback" not in second.text
    assert fresh.finished(fresh.start(rounds=1))["rounds"][0]["updates"] == 1


def test_a_second_combiner_of_a_name_is_told_and_ends(fresh: Network) -> None:
    fresh.up(clients=1)
    second = fresh.run("second", "run", "combiner", "--name", "north", "--reducer", fresh.address, "--dir", "second")
    assert second.ends() == 4
    assert second.text.rstrip().endswith("[name_taken]")
    assert "Traceback" not in second.text
    assert fresh.finished(fresh.start(rounds=1))["rounds"][0]["updates"] == 1


def clients_by_combiner(net: Network) -> dict[str, list[str]]:
    return {c["name"]: sorted(client["name"] for client in c["clients"]) for c in net.get("/")["combiners"]}


def test_clients_are_spread_evenly_but_for_those_who_prefer_a_combiner(fresh: Network) -> None:
    fresh.up(combiners=("north", "south"), clients=0)
    for name in ("fond-1", "fond-2"):
        fresh.client(name, "--combiner", "south")
    fresh.connected(2)
    assert clients_by_combiner(fresh) == {"north": [], "south": ["fond-1", "fond-2"]}
    for name in ("c0", "c1"):
        fresh.client(name)
    fresh.connected(4)
    assert clients_by_combiner(fresh) == {"north": ["c0", "c1"], "south": ["fond-1", "fond-2"]}
    lost = fresh.client("lost", "--combiner", "west")
    lost.says("there is no combiner 'west'")


def test_parts_are_the_lowest_free_numbers_and_stay_with_their_clients(fresh: Network) -> None:
    fresh.up(clients=3)
    parts = fresh.parts()
    assert sorted(parts.values()) == [0, 1, 2]
    for name in ("c0", "c1", "c2"):
        assert fresh.roles[name].stop() == 0
    fresh.connected(0)
    for name in ("c2", "new", "c0", "c1"):
        fresh.client(name)
    fresh.connected(4)
    assert fresh.parts() == parts | {"new": 3}


# ── death and return ──


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The final model of two rounds with two clients and seed 7, when nothing happens."""
    with network(tmp_path_factory.mktemp("undisturbed")) as net:
        net.up(clients=2)
        return str(net.finished(net.start(rounds=2))["rounds"][-1]["model"])


def in_a_round(net: Network) -> str:
    """Two clients train: c0 has delivered its update, c1 is waiting for `go`. The session's id."""
    session = net.start(rounds=2, clients_required=2, settings=net.moves(c1="wait@1"))
    until(lambda: (live := net.session(session)["live"]) and live["answered"] == 1, "c0 has delivered")
    until(lambda: len(net.runs()) == 2, "c1 trains")
    return session


def same_end(net: Network, session: str, undisturbed: str) -> None:
    (net.folder / "go").touch()
    ended = net.finished(session)
    assert [line["updates"] for line in ended["rounds"]] == [2, 2]
    for number in (1, 2):  # at the first attempt
        records = net.get(f"/api/v1/sessions/{session}/rounds/{number}")["rounds"]
        assert [record["kind"] for record in records] == ["train", "validate"]
    assert ended["rounds"][-1]["model"] == undisturbed
    assert net.fedn("trail", "verify").returncode == 0


def test_a_combiner_that_died_in_a_round_comes_back_elsewhere_and_nothing_is_lost(
    fresh: Network, undisturbed: str
) -> None:
    fresh.up(clients=2)
    session = in_a_round(fresh)
    fresh.roles["north"].kill()
    fresh.combiner()  # in its folder, at another port
    same_end(fresh, session, undisturbed)
    assert len([run for run in fresh.runs() if run["round"] == 1]) == 2  # nothing was trained again


def test_one_of_two_combiners_that_died_in_a_round_gets_its_clients_back(fresh: Network, undisturbed: str) -> None:
    fresh.up(combiners=("north", "south"), clients=2)
    session = in_a_round(fresh)
    died = next(name for name, clients in clients_by_combiner(fresh).items() if clients == ["c1"])
    fresh.roles[died].kill()
    until(lambda: "c1" not in fresh.parts(), "c1 has lost its combiner")
    fresh.combiner(died)
    same_end(fresh, session, undisturbed)


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_a_reducer_that_died_in_a_round_goes_on_with_it(fresh: Network, undisturbed: str, how: str) -> None:
    fresh.up(clients=2, workers=2)
    session = in_a_round(fresh)
    if how == "kill":
        fresh.roles["reducer"].kill()
    else:
        assert fresh.roles["reducer"].stop() == 0
    fresh.reducer(workers=2)
    fresh.ready()
    same_end(fresh, session, undisturbed)
    assert len([run for run in fresh.runs() if run["round"] == 1]) == 2


def test_a_reducer_whose_master_was_killed_leaves_no_workers(fresh: Network) -> None:
    master = fresh.reducer(workers=2)
    fresh.ready()
    master.stop(signal.SIGKILL)
    until(lambda: not fresh.left(), "the workers have ended")
    fresh.reducer()
    fresh.ready()


def test_a_client_that_died_in_training_trains_again_alone(fresh: Network, undisturbed: str) -> None:
    fresh.up(clients=2)
    session = in_a_round(fresh)
    part = fresh.parts()["c1"]
    (former,) = [run["pid"] for run in fresh.runs() if run["part"] == part]
    fresh.roles["c1"].stop(signal.SIGKILL)  # its script lives on
    assert former in fresh.left()
    fresh.client("c1")
    until(lambda: len(fresh.runs()) == 3, "c1 trains again")
    until(lambda: former not in fresh.left(), "its former script is gone")
    same_end(fresh, session, undisturbed)
    assert len({run["seed"] for run in fresh.runs() if run["round"] == 1}) == 2


def test_a_client_that_was_stopped_in_training_comes_back(fresh: Network, undisturbed: str) -> None:
    fresh.up(clients=2)
    session = in_a_round(fresh)
    assert fresh.roles["c1"].stop() == 0
    fresh.client("c1")
    same_end(fresh, session, undisturbed)


def test_a_session_whose_combiner_is_gone_can_be_stopped(fresh: Network) -> None:
    fresh.up(clients=2)
    session = in_a_round(fresh)
    fresh.roles["north"].kill()
    fresh.post(f"/api/v1/sessions/{session}/stop")
    ended = until(lambda: (s := fresh.session(session))["ended"] and s, "the session stops", within=15)
    assert ended["status"] == "stopped"


def test_a_combiner_that_may_drain_ends_after_its_round(fresh: Network) -> None:
    fresh.up(clients=2)
    fresh.roles["north"].stop()
    fresh.combiner("north", "--drain-s", 60)
    fresh.connected(2)
    session = in_a_round(fresh)
    north = fresh.roles["north"]
    north.process.send_signal(signal.SIGTERM)
    north.says("a round that runs here")
    (fresh.folder / "go").touch()
    assert north.ends() == 0
    until(lambda: fresh.session(session)["rounds"][0]["status"] == "committed", "the round is committed", within=15)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_role_ends_in_order_also_in_a_round(fresh: Network, number: signal.Signals) -> None:
    fresh.up(clients=2)
    in_a_round(fresh)
    for name in ("c1", "c0", "north", "reducer"):
        role = fresh.roles[name]
        role.process.send_signal(number)
        assert role.ends(within=STOP_S) == 0
        assert "Traceback" not in role.text, role.text
        assert " ERROR " not in role.text, role.text
    assert not fresh.left()
