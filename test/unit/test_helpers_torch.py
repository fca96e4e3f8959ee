"""The helper of PyTorch modules: the contract, every dtype, buffers, tied weights, state dicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch

from fedn.errors import ModelInvalid
from fedn.model.helpers import get
from fedn.model.helpers import torch as helper
from fedn.model.safetensors import load_tensors
from test.unit.helper_suite import DTYPES, Case, HelperSuite, arrays_of


class Tied(torch.nn.Module):
    """An embedding whose weights are the output layer's too, a BatchNorm with its counter, bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.narrow = torch.nn.Linear(3, 3, dtype=torch.bfloat16)
        self.output = torch.nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.register_buffer("unsaved", torch.ones(1), persistent=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.embedding(words))
        narrow: torch.Tensor = self.narrow(hidden.bfloat16()).float()
        words_again: torch.Tensor = self.output(narrow)
        return words_again


def convolutions() -> torch.nn.Module:
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Dropout(), torch.nn.Flatten(), torch.nn.Linear(8, 5)
    )
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def seeded(make: Callable[[], torch.nn.Module]) -> Callable[[int], torch.nn.Module]:
    def module(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return make()

    return module


def bits(tensor: torch.Tensor) -> npt.NDArray[Any]:
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.detach().numpy()


def state(module: torch.nn.Module) -> Sequence[npt.NDArray[Any]]:
    return [bits(tensor) for tensor in module.state_dict().values()]


def step(module: torch.nn.Module) -> None:
    batch = torch.arange(4) if isinstance(module, Tied) else torch.randn(4, 1, 4, 4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    torch.nn.functional.cross_entropy(module(batch), torch.arange(4)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def changed(change: Callable[[Any], object]) -> Callable[[], torch.nn.Module]:
    def module() -> torch.nn.Module:
        other = Tied()
        change(other)
        return other

    return module


CASES = [
    Case(
        "tied",
        get("torch"),
        seeded(Tied),
        Tied,
        state,
        step,
        [
            (
                changed(lambda module: setattr(module, "narrow", torch.nn.Linear(3, 4, dtype=torch.bfloat16))),
                "tensor 'narrow.bias' is bfloat16 [3] in the file, bfloat16 [4] in the model",
            ),
            (
                changed(lambda module: module.norm.half()),
                "tensor 'norm.bias' is float32 [3] in the file, float16 [3] in the model",
            ),
            (
                changed(lambda module: setattr(module, "more", torch.nn.Linear(1, 1))),
                "the model has a tensor 'more.bias', the file has none",
            ),
            (
                changed(lambda module: delattr(module, "norm")),
                "the file has a tensor 'norm.bias', the model has none",
            ),
        ],
    ),
    Case("convolutions", get("torch"), seeded(convolutions), convolutions, state, step),
]


class TestTorch(HelperSuite):
    cases = CASES


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_of_every_dtype_and_layout_come_back_with_the_same_bits(tmp_path: Path, dtype: str) -> None:
    kind: torch.dtype = getattr(torch, dtype)
    arrays = {name: array for name, array in arrays_of(dtype).items() if name != "backwards"}  # torch has no such
    tensors = {
        name: torch.from_numpy(array.view(np.int16) if dtype == "bfloat16" else array).view(kind)
        for name, array in arrays.items()
    }
    helper.save(tmp_path / "m", tensors)
    loaded = helper.load(tmp_path / "m")
    assert loaded.keys() == tensors.keys()
    for name, tensor in loaded.items():
        assert tensor.dtype == kind
        assert tensor.shape == tensors[name].shape
        assert bits(tensor).tobytes() == arrays[name].tobytes()


def test_buffers_and_tied_weights_come_back(tmp_path: Path) -> None:
    trained = Tied()
    trained.norm(torch.randn(4, 3))
    helper.save(tmp_path / "m", trained)
    assert {"embedding.weight", "output.weight"} <= load_tensors(tmp_path / "m").keys()
    module = helper.load(tmp_path / "m", into=Tied())
    assert module.norm.num_batches_tracked == torch.tensor(1)
    assert torch.equal(module.norm.running_mean, trained.norm.running_mean)  # type: ignore[arg-type]
    assert module.output.weight is module.embedding.weight
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_state_dict_is_saved_as_its_module_is(tmp_path: Path) -> None:
    module = Tied()
    assert helper.save(tmp_path / "1", module) == helper.save(tmp_path / "2", module.state_dict())


def test_metrics_may_be_tensors(tmp_path: Path) -> None:
    helper.save_metrics(tmp_path / "v.json", {"loss": torch.tensor(0.25)}, num_examples=8)
    assert '"loss": 0.25' in (tmp_path / "v.json").read_text()


def test_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    class Stateful(torch.nn.Linear):
        def get_extra_state(self) -> object:
            return {"step": 1}

    with pytest.raises(ModelInvalid, match="'_extra_state' is a dict"):
        helper.save(tmp_path / "m", Stateful(1, 1))
    assert not (tmp_path / "m").exists()
