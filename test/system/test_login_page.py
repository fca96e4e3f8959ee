"""Logging in and out in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fedn.reducer.login import COOKIE
from test.system.pages_bench import served
from test.unit.dashboard_bench import Bench
from test.unit.door_bench import ADMIN, NETWORK, WRONG, locked


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with locked(tmp_path) as one:
        yield one


@pytest.fixture
def address(made: Bench) -> Iterator[str]:
    with served(made) as where:
        yield where


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Log in").click()


def test_the_login_leads_back_to_the_page_that_was_asked_for(page: Page, address: str) -> None:
    page.goto(f"{address}/trail?x=1")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    expect(page.get_by_label("Token")).to_be_focused()
    log_in(page, WRONG)
    expect(page.get_by_role("alert")).to_contain_text("does not know this token")
    log_in(page, ADMIN)
    expect(page).to_have_url(f"{address}/trail?x=1")
    expect(page.get_by_role("heading", name="Model trail")).to_be_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == (COOKIE, True, "Strict")
    assert page.evaluate("document.cookie") == ""


def test_a_person_who_is_logged_in_can_change_things_by_the_forms(page: Page, made: Bench, address: str) -> None:
    page.goto(f"{address}/start")
    log_in(page, ADMIN)
    page.get_by_role("button", name="Start").click()
    expect(page).to_have_url(f"{address}/plot?session={made.desk.sessions.all()[0]['_id']}")


def test_the_network_token_shows_only_what_it_opens(page: Page, address: str) -> None:
    page.goto(address)
    log_in(page, NETWORK)
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(["Network", "Plot", "Trail"])
    page.goto(f"{address}/start")
    expect(page.get_by_role("heading", name="This takes the admin token")).to_be_visible()
    page.get_by_role("link", name="Log in with the admin token").click()
    log_in(page, ADMIN)
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(6)


def test_a_page_whose_login_has_ended_becomes_the_form(page: Page, address: str) -> None:
    page.goto(f"{address}/plot")
    with page.expect_response(lambda answer: answer.request.resource_type == "fetch"):  # its scripts are there and ask
        log_in(page, ADMIN)
    page.context.clear_cookies()  # as after twelve hours, or after a changed token
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    log_in(page, ADMIN)
    expect(page).to_have_url(f"{address}/plot")


def test_logging_out_ends_it(page: Page, address: str) -> None:
    page.goto(address)
    log_in(page, ADMIN)
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{address}/login")
    assert page.context.cookies() == []
    page.goto(f"{address}/trail")
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_page_of_another_site_cannot_use_the_login(page: Page, made: Bench, address: str) -> None:
    page.goto(address)
    log_in(page, ADMIN)
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    elsewhere = "http://127.0.0.1:1/"  # another origin of the same host, so that the cookie goes along
    form = f'<form method="post" action="{address}/start"><button>Win</button></form>'
    page.route(elsewhere, lambda route: route.fulfill(body=form, content_type="text/html"))
    page.goto(elsewhere)
    with page.expect_response(f"{address}/start") as answer:
        page.get_by_role("button", name="Win").click()
    assert answer.value.status == 403
    assert made.desk.sessions.all() == []
