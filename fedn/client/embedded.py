"""A client inside a program of the user's own::

client = Client(name="hospital-1", reducer="http://reducer:8090")

@client.train
def train(model, task):
    ...
    return Update(model, num_examples=len(images), metrics={"loss": loss})

client.run()
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, TypeVar

from fedn.client.cache import Cache
from fedn.client.functions import Function, FunctionExecutor
from fedn.client.pool import serve, work
from fedn.config import ClientSettings, load
from fedn.errors import ConfigInvalid

F = TypeVar("F", bound=Function)


class Client:
    """The same agent as `fedn run client`, whose entry points are functions of this program.

    The keywords are the settings of `fedn run client` (docs/settings.md); what is not given comes from the environment,
    as there. A function takes the model, a dict of named arrays that it may change, and a `Task`; train returns an
    `Update`, validate a `Validation`, predict what JSON can hold. Raises ConfigInvalid.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings: ClientSettings = load(ClientSettings, environ=os.environ, overrides=settings)
        self._functions: dict[str, Function] = {}

    def train(self, function: F) -> F:
        """Decorator: this function trains the model on this client's data."""
        return self._take("train", function)

    def validate(self, function: F) -> F:
        """Decorator: this function measures the model on this client's held-out data."""
        return self._take("validate", function)

    def predict(self, function: F) -> F:
        """Decorator: this function applies the model."""
        return self._take("predict", function)

    def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C. Raises what waiting does not cure: NameTaken, AccessRefused, Conflict …"""
        self._check()
        asyncio.run(serve(self.settings, self._executor))

    async def arun(self) -> None:
        """As `run`, in an event loop of the program's own, until it is cancelled; signals stay the program's."""
        self._check()
        await work(self.settings, self._executor)

    def _take(self, entry_point: str, function: F) -> F:
        if entry_point in self._functions:
            raise ConfigInvalid(f"this client has two functions for {entry_point!r}")
        self._functions[entry_point] = function
        return function

    def _check(self) -> None:
        if "train" not in self._functions:
            raise ConfigInvalid("this client has no function to train with: decorate one with @client.train")

    def _executor(self, settings: ClientSettings, cache: Cache) -> FunctionExecutor:  # noqa: ARG002 - no package
        return FunctionExecutor(self._functions, workers=settings.workers)
