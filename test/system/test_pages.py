"""The reducer's pages in a real browser: over a real network, and over states that a test paints."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from fedn.cli.processes import Processes
from test.system.pages_bench import Network, column, fact, served, set_hidden
from test.unit.dashboard_bench import NASTY, Bench, bench

pytestmark = pytest.mark.system

DIGITS = Path(__file__).parents[1] / "digits"
PATIENCE_MS = 120_000  # a session on a busy machine


@pytest.fixture
def painted(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path / "reducer") as made:
        yield made


@pytest.fixture
def address(painted: Bench) -> Iterator[str]:
    with served(painted) as where:
        yield where


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "fedn", "run", "reducer", "--port", str(port), "--dir", str(tmp_path / "reducer")]
    with (
        (tmp_path / "reducer.log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as reducer,
        Processes(tmp_path / "logs") as processes,
    ):
        assert reducer.stdout is not None
        said = reducer.stdout.readline().split()  # it listens from here on
        try:
            yield Network(said[-1], tmp_path, processes)
        finally:
            processes.stop()
            reducer.terminate()


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "seed.safetensors"
    subprocess.run([sys.executable, "init_model.py", str(path)], cwd=DIGITS, check=True)
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "package.tar"
    subprocess.run([sys.executable, "-m", "fedn", "package", "create", str(DIGITS), "-o", str(path)], check=True)
    return path


def test_a_person_takes_an_empty_network_to_a_trained_model(
    network: Network, page: Page, seed: Path, package: Path
) -> None:
    page.goto(network.address)
    expect(page.locator("#steps li")).to_have_count(5)
    expect(page.locator("#steps")).to_contain_text(f"fedn run combiner --reducer {network.address}")
    page.evaluate("window.stayed = true")
    network.start("combiner", "north")
    network.start("client", "client-1")
    network.start("client", "client-2")
    expect(fact(page, "Clients")).to_contain_text("2", timeout=PATIENCE_MS)
    assert sorted(page.locator("#combiners .name").all_inner_texts()) == ["client-1", "client-2"]
    assert page.evaluate("window.stayed")
    uploads_the_package(page, package)
    uploads_the_seed(page, seed)
    starts_a_session(page)
    watches_it_to_its_end(page)
    page.get_by_role("link", name="Trail").click()
    expect(page.locator("tbody tr")).to_have_count(3)
    with page.expect_download() as download:
        page.locator("tbody tr a[download$='.safetensors']").first.click()
    assert Path(download.value.path()).stat().st_size == seed.stat().st_size


def uploads_the_package(page: Page, package: Path) -> None:
    page.get_by_role("link", name="Package", exact=True).click()
    page.get_by_label("Package file").set_input_files(package)
    page.get_by_role("button", name="Upload the package").click()
    expect(page.locator("main")).to_contain_text("This is what the clients run.")
    expect(page.locator("main")).to_contain_text("python train.py")


def uploads_the_seed(page: Page, seed: Path) -> None:
    """At first with a file that is no model."""
    page.get_by_role("link", name="Seed", exact=True).click()
    page.get_by_label("Model file").set_input_files(DIGITS / "fedn.yaml")
    page.get_by_role("button", name="Upload the seed model").click()
    expect(page.locator("main")).to_contain_text("What to do:")
    page.get_by_role("link", name="Choose another file").click()
    page.get_by_label("Model file").set_input_files(seed)
    page.get_by_role("button", name="Upload the seed model").click()
    expect(page.locator("main")).to_contain_text("The model trail has begun")


def starts_a_session(page: Page) -> None:
    """At first with values that do not go together; what was filled in is kept."""
    page.get_by_role("link", name="Start a session").click()
    page.get_by_label("Rounds").fill("2")
    page.get_by_label("Clients required").fill("2")
    page.get_by_label("Clients requested").fill("1")
    page.get_by_label("Client settings").fill('{"epochs": 1}')
    page.get_by_role("button", name="Start the session").click()
    expect(page.locator("main")).to_contain_text("fewer than clients_required (2)")
    page.get_by_role("link", name="Back to the form").click()
    expect(page.get_by_label("Rounds")).to_have_value("2")
    page.get_by_label("Clients requested").fill("")
    page.get_by_role("button", name="Start the session").click()


def watches_it_to_its_end(page: Page) -> None:
    """Without a reload."""
    expect(page.locator("h1")).to_contain_text("Session s-")
    page.evaluate("window.stayed = true")
    expect(page.locator("#status")).to_have_text("finished", timeout=PATIENCE_MS)
    expect(page.locator("#loss .readout")).to_contain_text("in round 2")
    expect(page.locator("#accuracy .readout")).to_contain_text("in round 2")
    expect(page.locator("#accuracy canvas")).to_be_visible()
    assert page.evaluate("window.stayed")
    assert column(page, "Round") == ["2", "1"]
    assert column(page, "Status") == ["committed", "committed"]
    assert column(page, "Participants") == column(page, "Updates") == ["2", "2"]
    assert all(float(seconds) > 0 for seconds in column(page, "Seconds"))
    assert all(0.5 < float(accuracy) <= 1 for accuracy in column(page, "Accuracy"))
    expect(page.get_by_role("button", name="Stop the session")).to_be_hidden()


def test_the_network_page_shows_nasty_names_as_text_and_follows_the_network(
    painted: Bench, address: str, page: Page
) -> None:
    painted.combiner(NASTY, NASTY, task="train")
    painted.package(name=NASTY)
    page.goto(address)
    expect(page.locator("#combiners .name")).to_have_text([NASTY])
    expect(page.locator("#combiners h3")).to_have_text([NASTY])
    expect(page.locator("#combiners")).to_contain_text("training")
    expect(fact(page, "Package")).to_contain_text(NASTY)
    painted.combiner("south", "other")
    painted.combiner("gone", up=False)
    expect(page.locator("#combiners .name")).to_have_text([NASTY, "other"])
    expect(page.locator("#combiners .badge")).to_have_text(["up", "up", "not up"])
    expect(page.locator("main script:not([type='application/json'])")).to_have_count(0)
    expect(page).to_have_title("Network · FEDn")


def test_the_plot_shows_why_clients_failed_and_keeps_what_the_reader_opened(
    painted: Bench, address: str, page: Page
) -> None:
    painted.combiner("north", NASTY, "b")
    session = painted.session(rounds=3)
    painted.failing(session, 1)
    painted.working(session, 2, participants=2, answered=1, busy=["id-0"])
    page.goto(f"{address}/plot")
    expect(page.locator("#live")).to_contain_text(f"training: {NASTY}")
    expect(page.locator("#live")).to_contain_text("1 of 2 answered")
    page.locator("#rounds summary").click()
    expect(page.locator(".failures .tail")).to_have_text(f"Traceback: {NASTY}")
    painted.round(session, 2, metrics={"loss": 0.5, "accuracy": 0.75})
    expect(page.locator("#accuracy .readout")).to_have_text("0.7500 in round 2")
    expect(page.locator("#loss .readout")).to_have_text("0.5000 in round 2")
    assert column(page, "Loss") == ["0.5000", "–"]
    expect(page.locator(".failures .tail")).to_be_visible()
    expect(page.locator("main script:not([type='application/json'])")).to_have_count(0)


def test_a_combiner_that_a_round_has_lost_is_named_and_late_results_are_counted(
    painted: Bench, address: str, page: Page
) -> None:
    painted.combiner("north", "a", "b")
    painted.network.seen[-1].report.late = 2  # type: ignore[union-attr]
    loss = {"combiner": NASTY, "code": "combiner_unreachable", "reason": "it does not answer"}
    painted.round(painted.session(rounds=3), 1, clients=[{"name": "a"}, {"name": "b"}], losses=[loss])
    page.goto(f"{address}/plot")
    expect(page.locator("#rounds .trouble")).to_have_text(f"Round 1: combiner {NASTY} was lost: it does not answer")
    page.goto(address)
    expect(page.locator("#combiners header")).to_contain_text("127.0.0.1:8091, 2 clients, 2 late results")


def test_a_waiting_session_says_why_and_is_stopped_by_the_button(painted: Bench, address: str, page: Page) -> None:
    session = painted.session()
    painted.desk.sessions.set_status(session, "waiting", "1 of 3 required clients are connected")
    page.goto(f"{address}/plot")
    expect(page.locator("#status")).to_have_text("waiting")
    expect(page.locator("#reason")).to_have_text("1 of 3 required clients are connected")
    page.get_by_role("button", name="Stop the session").click()
    page.wait_for_url(f"{address}/plot?session={session}")
    assert painted.desk.sessions.get(session)["stop"] is True
    painted.desk.sessions.end(session, "stopped", code="stopped", reason="stopped by the user")
    expect(page.locator("#status")).to_have_text("stopped")
    expect(page.locator("#reason")).to_have_text("stopped by the user (stopped)")


def test_the_plot_waits_for_the_first_session_and_takes_another_when_asked(
    painted: Bench, address: str, page: Page
) -> None:
    page.goto(f"{address}/plot")
    expect(page.locator("#none")).to_contain_text(f"fedn session start --rounds 10 --reducer {address}")
    first = painted.session(validate=False)
    expect(page.locator("#title")).to_have_text(first)
    expect(page.locator("#loss .readout")).to_have_text("This session does not validate its models.")
    painted.desk.sessions.end(first, "finished")
    second = painted.session()
    page.goto(f"{address}/plot")
    expect(page.locator("#title")).to_have_text(second)
    page.get_by_label("Show").select_option(first)
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#title")).to_have_text(first)


def test_a_lost_connection_is_said_and_found_again(painted: Bench, address: str, page: Page) -> None:
    page.goto(address)
    expect(page.locator("#connection")).to_be_hidden()
    page.route("**/*", lambda route: route.abort())
    expect(page.locator("#connection")).to_have_text("Connection lost, retrying…")
    page.unroute_all()
    expect(page.locator("#connection")).to_be_hidden()
    painted.combiner("north")
    expect(page.locator("#combiners h3")).to_have_text(["north"])


def test_a_hidden_page_asks_nothing_until_it_is_seen_again(painted: Bench, address: str, page: Page) -> None:
    asked: list[str] = []

    def note(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_()

    page.clock.install()
    page.goto(address)
    page.route("**/*", note)
    with page.expect_response(f"{address}/"):
        page.clock.run_for(1500)
    set_hidden(page, True)
    asked.clear()
    page.clock.run_for(60_000)
    assert asked == []
    painted.combiner("north")
    set_hidden(page, False)
    expect(page.locator("#combiners h3")).to_have_text(["north"])


def test_unchanged_data_draws_nothing(painted: Bench, address: str, page: Page) -> None:
    painted.combiner("north", "client-1")
    painted.session()
    page.goto(address)
    page.evaluate(
        """() => {
            window.drawn = 0;
            const watch = new MutationObserver((changes) => { window.drawn += changes.length; });
            watch.observe(document.querySelector("main"), { childList: true, subtree: true, characterData: true });
        }"""
    )
    for _ in range(3):
        with page.expect_response(f"{address}/"):
            pass
    assert page.evaluate("window.drawn") == 0


@pytest.mark.parametrize("width", [1200, 390])
def test_no_page_is_wider_than_the_screen(width: int, painted: Bench, address: str, page: Page) -> None:
    painted.combiner("a-combiner-with-quite-a-long-name", NASTY * 3, task="train")
    painted.package(name="x" * 60)
    painted.seed()
    session = painted.session()
    painted.commit(session, 1)
    painted.failing(session, 1)
    painted.round(session, 2, metrics={"loss": 0.5, "accuracy": 0.75})
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/", "/context", "/seed", "/start", "/plot", "/trail", "/nowhere"):
        page.goto(address + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
