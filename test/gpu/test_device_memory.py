"""On a machine with a GPU only (`make gpu`): what tasks take of its memory, they give back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedn.client.runtime import run_in_process
from fedn.client.verdict import Run
from fedn.client.workers import Workers
from fedn.package.entry_point import EntryPoint, Isolation

COMMAND = ("python", "task.py")
# Holds on to 512 MiB of the device for as long as its process lives.
TASK = """\
import torch
import keep
assert torch.cuda.is_available(), "there is no GPU that PyTorch can use"
keep.held = torch.ones(128 * 2**20, device="cuda")
keep.held.sum().item()
"""
TASKS = 20
SLACK_MIB = 16


def device_memory_mib() -> int:
    """What is in use on the first GPU, by whomever."""
    words = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[0])


@pytest.mark.parametrize("isolation", ["process", "worker"])
async def test_device_memory_is_as_before_after_twenty_tasks(tmp_path: Path, isolation: Isolation) -> None:
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "keep.py").write_text("held = None\n")
    run, workers = Run(COMMAND, (), cwd=tmp_path, environ=dict(os.environ)), Workers(1)
    before = device_memory_mib()
    for _ in range(TASKS):
        if isolation == "process":
            await run_in_process(run, time_limit_s=120)
            assert device_memory_mib() <= before + SLACK_MIB
        else:
            await workers.run(run, EntryPoint(COMMAND, "worker"), time_limit_s=120)
            assert device_memory_mib() <= before + 2048, "the same tensor, and the context, once"
    await workers.stop()
    assert device_memory_mib() <= before + SLACK_MIB
    mapped = Path("/proc/self/maps").read_text()
    assert "libcuda.so" not in mapped, "the parent has nothing to do with CUDA"
    assert "torch" not in sys.modules
