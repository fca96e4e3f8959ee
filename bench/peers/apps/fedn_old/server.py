"""The command `fedn`, for the two servers: `python server.py controller start`."""

from __future__ import annotations

import undotted  # noqa: F401 - before anything connects

from fedn.cli.main import main

main()
