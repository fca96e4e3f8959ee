"""What the MongoDB driver raises, as our errors: one sentence with the place, and never a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bson.errors import InvalidDocument
from pymongo import errors as driver

from fedn.errors import AlreadyExists, BadInput, FednError, StoreRefused, Unavailable
from fedn.storage.urls import MongoPlace

UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18
TOO_LARGE = (10334, 17280, 17419)
# Time mends these. The server stops, starts, or hands over; the driver itself knows some of them as AutoReconnect.
NOT_NOW = (6, 7, 64, 89, 91, 133, 134, 189, 202, 9001, 10058, 10107, 11600, 11602, 13435, 13436)
# It broke one piece of work off: a lock, a limit, a cursor, another's write, someone's `killOp`.
BROKEN_OFF = (24, 43, 46, 50, 112, 175, 237, 262, 11601)
DISK_FULL = 14031
MAY_BE_TRIED_AGAIN = ("RetryableWriteError", "TransientTransactionError", "RetryableError")


@dataclass(frozen=True)
class Doing:
    """What a call does, for the sentence of its error."""

    verb: str
    collection: str
    place: MongoPlace
    user_given: bool

    @property
    def store(self) -> str:
        """The store in words."""
        return f"the state store at {self.place.host}:{self.place.port}"


@contextmanager
def translated(doing: Doing) -> Iterator[None]:
    """Raise Unavailable, StoreRefused, AlreadyExists, BadInput or FednError for the driver's errors."""
    try:
        yield
    except driver.DuplicateKeyError as error:
        raise taken(doing.collection, error.details or {}) from None
    except (driver.DocumentTooLarge, InvalidDocument) as error:
        raise _refused(doing, error) from None
    except driver.WriteConcernError as error:
        why = f"{doing.store} did not confirm in time that it keeps a write"
        raise Unavailable(why) from error
    except driver.OperationFailure as error:
        raise _failed(doing, error) from error
    except driver.ConnectionFailure as error:
        raise Unavailable(f"{doing.store} does not answer: {why_not(error)}") from error
    except driver.InvalidOperation as error:  # closed under a call of another thread
        raise Unavailable("the state store is closed") from error
    except driver.PyMongoError as error:
        raise FednError(f"{doing.store}: {type(error).__name__}") from error


def unanswered(error: Unavailable) -> bool:
    """True when a request may have reached the server, and its answer was lost."""
    cause = error.__cause__
    return isinstance(cause, driver.AutoReconnect) and not isinstance(cause, driver.ServerSelectionTimeoutError)


def lost(error: Unavailable) -> bool:
    """True when the server could not be reached, or the connection broke."""
    return isinstance(error.__cause__, driver.ConnectionFailure)


def why_not(error: driver.ConnectionFailure) -> str:
    """The reason in a few words; the driver's own are a paragraph."""
    said = re.search(r"\[Errno -?\d+\] ([^(),\]]+)", str(error))
    if said:
        return said[1].strip()
    if isinstance(error, driver.NetworkTimeout) or "timed out" in str(error):
        return "timed out"
    return "the connection broke" if "closed" in str(error) else type(error).__name__


def taken(collection: str, details: Mapping[str, Any]) -> AlreadyExists:
    """The error that names the field: from the server's `keyPattern`, or from its words, which name the index."""
    pattern, words = details.get("keyPattern") or {}, str(details.get("errmsg", ""))
    index = re.search(r"index: (\w+)", words) or re.search(rf"(?:idx_{collection}_|{collection}\.)(\w+)'?$", words)
    field = next(iter(pattern), None) or (index[1] if index else "?")
    field = "_id" if field == "_id_" else field
    return AlreadyExists(f"{collection}: another document has this {field}", collection=collection, field=field)


def _failed(doing: Doing, error: driver.OperationFailure) -> FednError:
    if error.code == AUTHENTICATION_FAILED:
        return StoreRefused(
            f"{doing.store} does not accept the user and password of FEDN_MONGO_USER and FEDN_MONGO_PASSWORD"
        )
    if error.code == UNAUTHORIZED and not doing.user_given:
        return StoreRefused(f"{doing.store} asks for a user: set FEDN_MONGO_USER and FEDN_MONGO_PASSWORD")
    if error.code == UNAUTHORIZED:
        where = f"{doing.collection!r} of the database {doing.place.database!r}"
        return StoreRefused(f"{doing.store} does not let the user of FEDN_MONGO_USER {doing.verb} {where}")
    if error.code in TOO_LARGE:
        return _refused(doing, error)
    if error.code == DISK_FULL:
        return Unavailable(f"{doing.store} has no room left on its disk (its error {error.code})")
    if error.code in BROKEN_OFF:
        where = f"{doing.verb} {doing.collection!r}"
        return Unavailable(f"{doing.store} broke off what was to {where} (its error {error.code})")
    if error.code in NOT_NOW or any(map(error.has_error_label, MAY_BE_TRIED_AGAIN)):
        return Unavailable(f"{doing.store} does not serve now (its error {error.code})")
    return FednError(f"{doing.store} could not {doing.verb} {doing.collection!r} (its error {error.code})")


def _refused(doing: Doing, error: Exception) -> BadInput:
    if isinstance(error, InvalidDocument) and not isinstance(error, driver.DocumentTooLarge):
        return BadInput(f"{doing.collection}: the document cannot be stored")
    return BadInput(f"{doing.collection}: the document is larger than the state store's limit of 16 MB")
