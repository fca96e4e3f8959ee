"""A client that has no seat says why, and does not fill its log with it."""

from __future__ import annotations

import logging

from fedn.client.complaint import REMINDER_S, Complaint


def test_the_same_is_said_once_a_minute_and_anything_new_at_once() -> None:
    now = 0.0
    complaint = Complaint(lambda: now)
    assert [complaint.level("away") for _ in range(3)] == [logging.WARNING, logging.DEBUG, logging.DEBUG]
    assert [complaint.level("full"), complaint.level("away")] == [logging.WARNING] * 2
    now = REMINDER_S - 1
    assert complaint.level("away") == logging.DEBUG
    now = REMINDER_S
    assert [complaint.level("away"), complaint.level("away")] == [logging.WARNING, logging.DEBUG]


def test_what_was_settled_is_news_when_it_comes_again() -> None:
    complaint = Complaint(lambda: 0.0)
    complaint.level("away")
    complaint.settle()
    assert complaint.level("away") == logging.WARNING
