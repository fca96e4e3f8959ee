"""What a script is told by its environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedn.config import ClientSettings, without_secrets
from fedn.wire.v1 import combiner_pb2 as pb


def told(
    command: pb.RunTask, *, part: int, settings: Path, client: ClientSettings, ours: Mapping[str, str]
) -> dict[str, str]:
    """Our own environment, as it was at the start, less its secrets, and what the task says; `settings` is its file."""
    about = {
        "FEDN_PART": str(part),
        "FEDN_SEED": str(command.seed),
        "FEDN_SESSION_SEED": str(command.session_seed),
        "FEDN_SESSION": command.session_id,
        "FEDN_ROUND": str(command.round),
        "FEDN_CLIENT_SETTINGS": str(settings),
    }
    if client.parts is not None:
        about["FEDN_PARTS"] = str(client.parts)
    if client.data_dir is not None:
        about["FEDN_DATA_DIR"] = str(client.data_dir.expanduser().absolute())
    return without_secrets(ours) | about
