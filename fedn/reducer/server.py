"""The reducer's process: gunicorn, threads, and in each worker its own stores and engine, made after the fork."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from fedn.config import ReducerSettings
from fedn.errors import PortTaken
from fedn.reducer.app import create_app
from fedn.reducer.desk import Desk
from fedn.reducer.engine import Engine
from fedn.security.placeholders import check_store_secrets
from fedn.security.tokens import is_loopback, tokens_of
from fedn.storage import descriptors
from fedn.storage.folder import hold, hold_slot, prepare
from fedn.storage.opening import check_places

log = logging.getLogger(__name__)

FAREWELL_S = 3


class Worker:
    """One gunicorn worker's stores and engine."""

    def __init__(self, settings: ReducerSettings) -> None:
        self._settings = settings
        self._desk: Desk | None = None
        self._engine: Engine | None = None

    def open(self) -> Flask:
        """Open the stores, start the engine."""
        self._desk = Desk.open(self._settings)
        self._engine = Engine(self._desk)
        self._engine.start()
        return create_app(self._desk, self._engine)

    def close(self) -> None:
        """Give the lease up, close the stores."""
        if self._engine is not None:
            self._engine.stop()
        if self._desk is not None:
            self._desk.close()


class Gunicorn(BaseApplication):  # type: ignore[misc]
    """Gunicorn, configured from the settings instead of a file."""

    def __init__(self, settings: ReducerSettings, descriptor: int) -> None:
        self._worker = Worker(settings)
        self._options: dict[str, Any] = {
            "bind": f"fd://{descriptor}",
            "workers": settings.workers,
            "threads": settings.threads,
            "worker_class": "gthread",
            "worker_connections": min(1000, descriptors.for_others()),
            "preload_app": False,
            "graceful_timeout": FAREWELL_S,
            "timeout": 120,
            "loglevel": "warning",
            "proc_name": "fedn-reducer",
            "worker_exit": self._exit(),
            "control_socket_disable": True,
        }
        super().__init__()

    def _exit(self) -> Callable[[Any, Any], None]:
        def worker_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
            self._worker.close()

        return worker_exit

    def load_config(self) -> None:
        """Take the options that this version of gunicorn knows."""
        for name, value in self._options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """In the worker, after the fork."""
        return self._worker.open()


def bound(host: str, port: int) -> socket.socket:
    """A listening address of our own, so that a taken port is one sentence. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # create_server adds words of its own
        why = os.strerror(error.errno or 0) if known else error.strerror
        raise PortTaken(f"cannot listen on {shown(host, port)}: {why}") from None


def shown(host: str, port: int) -> str:
    """The address as a URL has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def workplace(settings: ReducerSettings) -> Path:
    """The reducer's folder, locked: the workers inherit the lock, until the last of them has ended.

    Where both stores are elsewhere it holds nothing that lasts, and reducers that share it take a slot in it each.
    """
    root = prepare(settings.dir)
    if settings.state is not None and settings.blobs is not None:
        root, _ = hold_slot(root)
    else:
        hold(root)
    return root


def serve(settings: ReducerSettings, *, listening: Callable[[str], None]) -> None:
    """Run the reducer until SIGTERM or SIGINT; `listening` is told its address. Does not return."""
    check_places(settings)
    tokens_of(settings)
    if not is_loopback(settings.host):  # on this machine alone, a store for trying things may have any password
        check_store_secrets(settings)
    settings = replace(settings, dir=workplace(settings))
    sock = bound(settings.host, settings.port)
    host, port = sock.getsockname()[:2]
    listening(f"http://{shown(host, port)}")
    descriptor = sock.detach()
    Gunicorn(settings, descriptor).run()
