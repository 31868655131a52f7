"""What compiling for a GPU does otherwise: there is one engine, and answers are compared only where the GPU is."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from l0compile.errors import ConfigError
from l0compile.hardware.targets import Target, host_supports


def check_engine(engine: str, target: Target) -> None:
    """Check that ``engine`` runs models on ``target``.

    Raises:
        ConfigError: it does not, or there is no such engine.
    """
    if engine not in ("auto", "tvm", "torch"):
        raise ConfigError(f"compile: engine: expected 'auto', 'tvm' or 'torch', got {engine!r}")
    if target.kind == "cuda" and engine == "torch":
        raise ConfigError(
            f"compile: engine: expected 'auto' or 'tvm' for target {target.name}, got 'torch', which is the PyTorch of "
            "this machine's CPU"
        )


def not_verified(target: Target) -> str | None:
    """Return why a model for a GPU cannot be called here to compare its answers; None if it can."""
    reason = host_supports(target) if target.kind == "cuda" else None
    return (
        None if reason is None else f"{reason}; model.emulated() computes what the GPU would, on small inputs"
    )


def through_gpu(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``compiled`` as a function of CPU tensors, whose results are on the CPU. Untested: it needs a GPU."""

    def move(value: Any, device: str) -> Any:
        return value.to(device) if isinstance(value, torch.Tensor) else value

    def call(*args: Any, **kwargs: Any) -> Any:
        given = pytree.tree_map(lambda value: move(value, "cuda"), (args, kwargs))
        return pytree.tree_map(lambda value: move(value, "cpu"), compiled(*given[0], **given[1]))

    return call
