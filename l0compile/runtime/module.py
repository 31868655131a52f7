"""How a compiled model behaves to code that expects an ``nn.Module``."""

import warnings
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from l0compile.errors import TargetError


class InferenceModule(nn.Module):
    """A module without parameters, for inference on one kind of device in the types that it was compiled for.

    Its weights are constants in the compiled code: ``parameters()`` and ``state_dict()`` are empty, and nothing can
    be loaded into it. Forward hooks work as on any module; gradients do not pass. ``train()`` warns and leaves it in
    eval mode. ``to``, ``half``, ``cuda`` and the like raise TargetError unless they change nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.training = False

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode; warn if training was asked for."""
        if mode:
            warnings.warn(
                "a compiled model is for inference only: it stays in eval mode and gives no gradients; "
                "train the original model and compile it again",
                stacklevel=2,
            )
        return self

    def floating_types(self) -> set[torch.dtype]:
        """Return the types that a conversion must leave alone."""
        return {torch.float32}

    def device_type(self) -> str:
        """Return the kind of device that it runs on."""
        return "cpu"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Everything that converts a module, or a module around this one, comes through here.
        own = self.device_type()
        for dtype in self.floating_types():
            try:
                got = fn(torch.zeros(1, dtype=dtype))
            except (RuntimeError, AssertionError) as error:  # a PyTorch without the device that was asked for
                raise TargetError(
                    f"compiled model: cannot be converted: {str(error).splitlines()[0]}"
                ) from error
            # A tensor that nothing moves stays on the CPU, also where the model is for a GPU.
            if got.device.type not in ("cpu", own) or got.dtype != dtype:
                where = "the CPU" if own == "cpu" else "the GPU"
                raise TargetError(
                    f"compiled model: runs on {where} in {dtype}, cannot be converted to {got.dtype} on {got.device}; "
                    "convert the original model and compile it again, or convert inputs and results"
                )
        return self
