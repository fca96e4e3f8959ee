"""What a person is told of a script that failed, without opening its stderr."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fedn.client.blame import MAX_CHARS, cause_of, failed
from fedn.client.inline import Inline
from fedn.client.runtime import run_in_process
from fedn.client.verdict import Run
from fedn.client.workers import Workers
from fedn.errors import CommandMissing, EntryPointFailed, FednError, SchemaMismatch
from fedn.model.safetensors import write_model
from fedn.package.entry_point import EntryPoint

HEAD = 'Traceback (most recent call last):\n  File "train.py", line 3, in <module>\n    main()\n'


@pytest.mark.parametrize(
    ("tail", "cause"),
    [
        ("", ""),
        ("\n \n", ""),
        ("warming up\nno data here\n", "no data here"),
        (HEAD + "ValueError: no data\n", "ValueError: no data"),
        (HEAD + "KeyError: 'w'\nan atexit handler says goodbye\n", "KeyError: 'w'"),
        (HEAD + "MemoryError\n", "MemoryError"),
        (HEAD + "A: first\n\nDuring handling of the above exception:\n\n" + HEAD + "B: second\n", "B: second"),
        (
            HEAD + "RuntimeError: Error(s) in loading state_dict for Net:\n\tsize mismatch for fc1.weight\n",
            "RuntimeError: Error(s) in loading state_dict for Net: size mismatch for fc1.weight",
        ),
        ('  File "train.py", line 1\n    (\n    ^\nSyntaxError: never closed\n', "SyntaxError: never closed"),
        (HEAD, ""),  # cut off
        ("x" * 1000, "x" * (MAX_CHARS - 1) + "…"),
    ],
)  # fmt: skip
def test_the_cause_is_the_end_of_the_last_traceback(tail: str, cause: str) -> None:
    assert cause_of(tail) == cause


def test_what_a_helper_raised_keeps_its_code() -> None:
    error = failed("python train.py", 1, HEAD + "fedn.errors.SchemaMismatch: the file has a tensor 'b'\n")
    assert type(error) is SchemaMismatch
    assert error.reason == "`python train.py`: the file has a tensor 'b'"
    assert error.detail["exit_code"] == 1
    assert error.detail["stderr_tail"].startswith(HEAD)


@pytest.mark.parametrize(
    "line",
    [
        "fedn.errors.RoundClosed: x",  # the network's own: believed, the failure would never be reported (I8)
        "fedn.errors.UnknownRound: x",
        "fedn.errors.Unavailable: x",
        "mine.SchemaMismatch: x",
        "SchemaMismatch: x",
    ],
)
def test_a_script_cannot_speak_for_the_network(line: str) -> None:
    error = failed("python train.py", 1, HEAD + line)
    assert type(error) is EntryPointFailed
    assert error.reason == f"`python train.py` ended with exit code 1: {line}"


async def outcome(isolation: str, run: Run) -> FednError:
    workers = Workers(1)
    running = {
        "process": lambda: run_in_process(run, time_limit_s=30),
        "worker": lambda: workers.run(run, EntryPoint(run.command, "worker"), time_limit_s=30),
        "inline": lambda: Inline().run(run, time_limit_s=30),
    }
    with pytest.raises(FednError) as caught:
        await running[isolation]()
    await workers.stop()
    return caught.value


LOADS = """
import sys
import numpy as np
from fedn.model.helpers import numpy as helper
helper.load(sys.argv[1], into={"w": np.zeros(3, np.float32)})
"""


@pytest.mark.parametrize("isolation", ["process", "worker", "inline"])
async def test_a_helper_that_is_given_a_model_of_another_shape(isolation: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(LOADS)
    write_model(tmp_path / "model", {"w": np.zeros(2, np.float32)})
    environ = {"PATH": os.environ["PATH"]}
    error = await outcome(isolation, Run(("python", "train.py"), (str(tmp_path / "model"),), tmp_path, environ))
    assert type(error) is SchemaMismatch
    assert error.reason == "`python train.py`: tensor 'w' is float32 [2] in the file, float32 [3] in the model"


@pytest.mark.parametrize("isolation", ["process", "worker", "inline"])
async def test_a_script_that_is_not_there(isolation: str, tmp_path: Path) -> None:
    run = Run(("python", "trian.py"), (), tmp_path, {"PATH": os.environ["PATH"]})
    error = await outcome(isolation, run)
    assert type(error) is CommandMissing
    assert error.reason == "`python trian.py`: there is no file 'trian.py' in the package"
