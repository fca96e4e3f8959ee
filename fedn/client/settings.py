"""What an entry point finds in FEDN_CLIENT_SETTINGS: three layers of key-values, of which the later win.

::

    the session's settings  ◀  the session's for this client  ◀  the data owner's own file

A key is taken whole: an object of a later layer replaces that of an earlier one, it is not merged into it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedn.errors import ConfigInvalid
from fedn.wire.v1 import combiner_pb2 as pb

MAX_BYTES = 1024 * 1024


def overlaid(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers as one.

    >>> overlaid({"epochs": 1, "rate": 0.1}, {"epochs": 2}, {"rate": 0.5})
    {'epochs': 2, 'rate': 0.5}
    """
    return {key: value for layer in layers for key, value in layer.items()}


def settings_for(command: pb.RunTask, own: Path | None) -> str:
    """The content of the task's settings file. Raises ConfigInvalid when the data owner's own file is broken."""
    sent = [json.loads(layer) for layer in (command.settings, command.client_settings) if layer]
    return json.dumps(overlaid(*sent, {} if own is None else read_own(own)))


def read_own(path: Path) -> dict[str, Any]:
    """The data owner's own settings. Raises ConfigInvalid, naming the file; its folder is nobody else's business."""
    what = f"this client's own settings for training, {path.name},"
    try:
        with path.expanduser().open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigInvalid(f"{what} cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ConfigInvalid(f"{what} have more than {MAX_BYTES} bytes")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"{what} are not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigInvalid(f"{what} are not a JSON object")
    return content
