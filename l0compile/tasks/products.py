"""The precision of matrix products in training: bfloat16 takes half the time of float32 on CPUs that support it.

Parameters, gradients and everything but linear layers stay float32. ``torch.autocast`` would also put attention into
bfloat16, for whose backward pass PyTorch has no fast kernel on CPUs: it takes 8 times as long as in float32.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from l0compile.hardware.targets import read_host

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


def products_in(precision: Precision) -> contextlib.AbstractContextManager[Any]:
    """Return a context in which ``nn.functional.linear`` multiplies in ``precision``; its results are float32.

    Nothing changes if the CPU would only emulate bfloat16.
    """
    return _Half() if usable(precision) == "bfloat16" else contextlib.nullcontext()


def usable(precision: Precision) -> Precision:
    """Return ``precision``, or float32 if this CPU would only emulate it."""
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
