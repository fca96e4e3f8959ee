"""A warm worker's process: takes one task after another from its client, and ends when the client does.

Run by path, by whatever Python the package wants: ``python worker_main.py CONTROL LIFELINE`` (two descriptors).
For each task the client sends the two ends of its pipes, then a line of JSON: words, cwd, environ. The answer is a
line of JSON too: exit_code.
"""

import gc
import importlib.util
import itertools
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [path for path in sys.path if Path(path) != HERE]  # a script's `import group` is not meant for ours
_spec = importlib.util.spec_from_file_location("_fedn_script", HERE / "script.py")
assert _spec is not None
assert _spec.loader is not None
_script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_script)


def main(control: socket.socket, lifeline: int) -> None:
    """Serve until the client closes the control socket."""
    threading.Thread(target=end_with, args=(lifeline,), daemon=True).start()
    lines = control.makefile("rb")
    for task_number in itertools.count():
        try:
            _, pipes, _, _ = socket.recv_fds(control, 1, 2)
        except OSError:
            return
        if len(pipes) != 2:
            return
        task = json.loads(lines.readline())
        show_in(pipes)
        exit_code = _script.run_script(task["words"], cwd=task["cwd"], environ=task["environ"])
        show_in([os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_WRONLY)])
        control.sendall(json.dumps({"exit_code": exit_code}).encode() + b"\n")
        gc.collect()
        if task_number == 0:
            gc.freeze()  # what was imported stays: going through all of PyTorch again took 100 ms after each task


def show_in(pipes: list[int]) -> None:
    """From now on stdout and stderr go there."""
    for number, pipe in zip((1, 2), pipes, strict=True):
        os.dup2(pipe, number)
        os.close(pipe)


def end_with(lifeline: int) -> None:
    """The client is gone, however it went: so are we, and whoever we started."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
