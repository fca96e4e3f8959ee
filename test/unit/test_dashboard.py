"""The reducer's pages as the server writes them: every state has its page, and no name becomes markup."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fedn.model.safetensors import digest_of
from fedn.reducer.session_config import SessionConfig
from test.unit.dashboard_bench import DIGEST, NASTY, PAGE, Bench, bench

STATIC = Path(__file__).parents[2] / "fedn/reducer/dashboard/static"
PATHS = ["/", "/context", "/seed", "/start", "/plot", "/trail"]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path / "reducer") as made:
        yield made


@pytest.fixture
def nasty(empty: Bench) -> Bench:
    """A network in which everything that others name has a nasty name."""
    empty.combiner(NASTY, NASTY, "client-1", task="train")
    empty.package(name=NASTY, command=NASTY)
    empty.seed()
    session = empty.session(rounds=3, settings={"note": NASTY})
    empty.failing(session, 1)
    empty.working(session, 2, participants=2, answered=0, busy=["id-0"])
    empty.desk.sessions.set_status(session, "running", NASTY)
    return empty


class Page(HTMLParser):
    """What matters of a page: its elements with their attributes, its text, its data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._data = ""
        self._within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._within = tag if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self._data += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> Any:
        return json.loads(self._data)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("state", ["empty", "nasty"])
def test_every_page_keeps_a_strict_content_security_policy(
    state: str, path: str, request: pytest.FixtureRequest
) -> None:
    page = Page(request.getfixturevalue(state).page(path))
    for script in page.all("script"):
        assert script.get("type") == "application/json" or script["src"].startswith("/static/")
    for tag, attributes in page.elements:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        assert "//" not in attributes.get("src", "") + attributes.get("href", "")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("state", ["empty", "nasty"])
def test_every_field_has_a_label_and_every_file_a_page_names_is_there(
    state: str, path: str, request: pytest.FixtureRequest
) -> None:
    made: Bench = request.getfixturevalue(state)
    page = Page(made.page(path))
    labelled = {label.get("for") for label in page.all("label")}
    for field in [*page.all("input"), *page.all("select"), *page.all("textarea")]:
        assert field.get("id") in labelled or field.get("type") == "checkbox"
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    client = made.app().test_client()
    for attributes in [*page.all("script"), *page.all("link"), *page.all("img")]:
        if address := attributes.get("src") or attributes.get("href"):
            with client.get(address) as answer:
                assert answer.status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_nasty_names_never_become_markup(path: str, nasty: Bench) -> None:
    html = nasty.page(path)
    assert "<script>document" not in html
    assert len(re.findall("<script", html)) == len(re.findall("</script>", html))


def test_the_network_page_carries_the_same_data_that_it_polls(nasty: Bench) -> None:
    page = Page(nasty.page("/"))
    assert page.data == nasty.data("/")
    assert page.data["combiners"][0]["clients"][0]["name"] == NASTY


def test_the_plot_page_carries_the_same_data_that_it_polls(nasty: Bench) -> None:
    page = Page(nasty.page("/plot"))
    assert page.data == nasty.data("/plot")
    assert page.data["session"]["live"]["busy"] == [NASTY]
    assert page.data["session"]["rounds"][0]["failures"][0]["stderr_tail"] == f"Traceback: {NASTY}"


def test_the_plot_of_a_failed_session_carries_why(empty: Bench) -> None:
    session = empty.session()
    empty.desk.sessions.end(session, "failed", code="quorum_not_met", reason="0 of 1 came")
    chosen = Page(empty.page(f"/plot?session={session}")).data["session"]
    assert (chosen["status"], chosen["code"], chosen["reason"]) == ("failed", "quorum_not_met", "0 of 1 came")


def test_the_plot_offers_every_session_and_marks_the_one_shown(empty: Bench) -> None:
    first = empty.session()
    empty.desk.sessions.end(first, "finished")
    second = empty.session()
    options = Page(empty.page(f"/plot?session={first}")).all("option")
    assert {o["value"] for o in options} == {first, second}
    assert [o["value"] for o in options if "selected" in o] == [first]


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("/plot", "fedn session start --rounds 10 --reducer http://localhost"),
        ("/seed", "curl --data-binary @seed.safetensors http://localhost/seed"),
        ("/context", "fedn package create path/to/project -o package.tar"),
        ("/trail", "curl --data-binary @seed.safetensors http://localhost/seed"),
        ("/start", "fedn session start --rounds 10 --clients-required 2 --reducer http://localhost"),
    ],
)
def test_an_empty_page_says_the_command_that_comes_next(path: str, command: str, empty: Bench) -> None:
    assert command in Page(empty.page(path)).text


def test_the_package_page_shows_what_runs_on_the_clients(empty: Bench) -> None:
    empty.package()
    text = Page(empty.page("/context")).text
    for part in ("digits", "20.0 KiB", DIGEST, "python train.py"):
        assert part in text


def test_the_seed_page_shows_the_seed_once_the_trail_has_begun(empty: Bench) -> None:
    page = Page(empty.page("/seed"))
    assert [f["action"] for f in page.all("form")] == ["/seed"]
    assert "new_lineage" not in [f["name"] for f in page.all("input")]
    empty.seed()
    assert DIGEST in Page(empty.page("/seed")).text


def test_the_start_form_has_a_field_for_every_option_of_a_session(empty: Bench) -> None:
    page = Page(empty.page("/start"))
    named = [f["name"] for f in [*page.all("input"), *page.all("select"), *page.all("textarea")]]
    assert sorted(named) == sorted(SessionConfig().as_json())
    rounds = next(f for f in page.all("input") if f["name"] == "rounds")
    assert (rounds["min"], rounds["max"]) == ("1", "100000")


def test_the_start_form_is_closed_while_a_session_runs(empty: Bench) -> None:
    session = empty.session()
    page = Page(empty.page("/start"))
    assert "disabled" in page.all("fieldset")[0]
    assert f"/plot?session={session}" in [a["href"] for a in page.all("a")]
    assert f"/api/v1/sessions/{session}/stop" in [f["action"] for f in page.all("form")]


def test_the_trail_page_lists_the_newest_record_first_and_not_all_of_a_long_trail(empty: Bench) -> None:
    empty.seed()
    for number in range(1, 206):
        empty.commit("s-1", number)
    page = Page(empty.page("/trail"))
    models = [a["title"] for a in page.all("a") if a["href"].startswith("/api/v1/models/")]
    assert models[0] == f"{205:064x}"
    assert len(models) == 200
    assert "6 older records are not shown" in page.text


def test_the_trail_page_shows_lineages_the_export_and_what_a_verification_found(empty: Bench) -> None:
    empty.seed()
    empty.desk.trail.begin_lineage("1" * 64, time=1.8e9)
    page = Page(empty.page("/trail"))
    assert {"/api/v1/trail/export", "/api/v1/trail/export?models=none"} <= {a["href"] for a in page.all("a")}
    assert "/trail/verify" in [f["action"] for f in page.all("form")]
    assert "The trail" not in page.text
    empty.desk.blobs.delete(DIGEST)
    broken = Page(empty.post("/trail/verify", {}, status=500))
    assert f"The trail does not hold: record 0: its model {DIGEST[:12]}…: there is no blob {DIGEST}" in broken.text


def test_a_trail_that_holds_is_said_to_hold(empty: Bench, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"model")
    digest = digest_of(path)
    empty.desk.blobs.put(path, digest)
    empty.desk.trail.plant(digest, time=1.7e9)
    page = Page(empty.post("/trail/verify", {}, status=200))
    assert "The trail holds: 1 record in 1 lineage, and 1 blob, were verified." in page.text


def test_the_seed_page_warns_of_a_new_lineage_and_offers_none_while_a_session_runs(empty: Bench) -> None:
    empty.seed()
    page = Page(empty.page("/seed"))
    (box,) = [field for field in page.all("input") if field["type"] == "checkbox"]
    assert (box["name"], "required" in box) == ("new_lineage", True)
    assert "This cannot be undone." in page.text
    assert "Begin lineage 2" in page.text
    session = empty.session()
    page = Page(empty.page("/seed"))
    assert not [field for field in page.all("input") if field["type"] == "checkbox"]
    assert f"/plot?session={session}" in [a["href"] for a in page.all("a")]


def test_a_refused_form_says_what_is_wrong_what_to_do_and_leads_back(empty: Bench) -> None:
    page = Page(empty.post("/start", {"clients_required": "2", "clients_requested": "1"}, status=400))
    assert "clients_requested is 1, fewer than clients_required (2)" in page.text
    assert "Correct the field that the reason names" in page.text
    assert {"href": "/start", "class": "button", "data-back": ""} in page.all("a")


def test_a_start_without_a_seed_leads_to_the_seed(empty: Bench) -> None:
    page = Page(empty.post("/start", {}, status=409))
    assert "Upload one at /seed." in page.text
    assert {"href": "/seed", "class": "button"} in page.all("a")


def test_a_second_start_leads_to_the_running_session(empty: Bench) -> None:
    empty.seed()
    empty.package()
    session = empty.session()
    html = empty.post("/start", {}, status=409)
    assert f'href="/plot?session={session}"' in html
    assert "<code>fedn session stop</code>" in html


def test_a_file_that_is_no_model_is_refused_on_a_page(empty: Bench) -> None:
    page = Page(empty.post("/seed", {"seed": (io.BytesIO(b"not a model"), "x.safetensors")}, status=400))
    assert "model_invalid" in page.text
    assert "What to do:" in page.text


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), (f"/plot?session={NASTY}", 404), ("/add", 405)])
def test_what_is_not_there_has_a_page_too(path: str, status: int, empty: Bench) -> None:
    html = empty.page(path, status=status)
    assert f"{status} <code>" in html
    assert "<script>document" not in html


def test_a_browser_is_taken_from_the_start_form_to_the_plot(empty: Bench) -> None:
    empty.seed()
    empty.package()
    answer = empty.app().test_client().post("/start", data={"rounds": "2", "seed": ""}, headers=PAGE)
    assert answer.status_code == 303
    active = empty.desk.sessions.active()
    assert active is not None
    assert answer.location == f"/plot?session={active['_id']}"
    assert active["config"]["validate"] is False  # the box was not ticked
    assert empty.network.woken == 1


def test_the_vendored_plotting_library_stands_beside_its_licence() -> None:
    assert "MIT" in (STATIC / "vendor/uplot/LICENSE").read_text()
    assert "uPlot" in (STATIC / "vendor/uplot/uPlot.iife.min.js").read_text()


def test_our_scripts_never_write_markup() -> None:
    scripts = list(STATIC.glob("*.js"))
    assert scripts
    for script in scripts:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script.read_text())
