"""Programs for GPUs without nvcc: the emulation reads their source."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.lower.cuda import library
from l0compile.runtime import CompiledModel


@pytest.fixture
def no_nvcc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without nvcc, which takes seconds to make what no test here can run."""
    monkeypatch.setattr(library, "has_nvcc", lambda: False)
    yield


class Formula(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: torch.Tensor) -> Any:
        return self.function(*args)


def for_gpu(
    model: nn.Module | Callable[..., Any],
    args: tuple[Any, ...],
    target: str = "cuda-sm80",
    dynamic: Any = None,
) -> CompiledModel:
    """A model, or a function of tensors, compiled for a GPU."""
    module = model if isinstance(model, nn.Module) else Formula(model)
    return l0.compile(module.eval(), args, target=target, dynamic_shapes=dynamic)


def gap(found: Any, expected: Any) -> float:
    """Largest difference of two results, as a share of the largest value of each tensor."""
    pairs = zip(*(torch.utils._pytree.tree_leaves(value) for value in (found, expected)), strict=True)
    return max(
        (
            float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30))
            for a, b in pairs
        )
    )
