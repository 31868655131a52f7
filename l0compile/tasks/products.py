"""The precision of matrix products in training: bfloat16 where the CPU multiplies in it, twice as quick as float32.

Parameters, gradients and everything that is no linear layer stay float32. ``torch.autocast`` would also put attention
into bfloat16, whose backward pass PyTorch has no quick kernel for on CPUs (8 times the time of float32).
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from l0compile.hardware.targets import read_host

PRECISIONS = ("float32", "bfloat16")


def products_in(precision: str) -> contextlib.AbstractContextManager[Any]:
    """Within it ``nn.functional.linear`` multiplies in ``precision`` where this CPU can; its results are float32.

    Where the CPU would only emulate bfloat16, and for float32, nothing changes.
    """
    return _Half() if usable(precision) == "bfloat16" else contextlib.nullcontext()


def usable(precision: str) -> str:
    """``precision``, or float32 where this CPU would only emulate it."""
    return precision if read_host().multiplies_bfloat16 else "float32"


class _Half(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is nn.functional.linear:
            return _linear(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if input.dtype != torch.float32 or weight.dtype != torch.float32:
        return nn.functional.linear(input, weight, bias)
    half = None if bias is None else bias.bfloat16()
    return nn.functional.linear(input.bfloat16(), weight.bfloat16(), half).float()
