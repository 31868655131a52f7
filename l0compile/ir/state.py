"""Buffers that ``forward`` changes: the state of a model."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.export import ExportedProgram

from l0compile.errors import CaptureError

_log = logging.getLogger("l0compile")


@dataclass(frozen=True)
class State:
    """One buffer that each call replaces.

    Attributes:
        name: dotted, as in the model.
        tensor: a copy of its value at capture.
    """

    name: str
    tensor: torch.Tensor


def read_state(name: str, exported: ExportedProgram) -> State:
    """The state called ``name``.

    Raises:
        CaptureError: another tensor of the model has the same memory.
    """
    stores: list[Mapping[str, torch.Tensor]] = [exported.state_dict, exported.constants]
    tensor = next(store[name] for store in stores if name in store)
    for other, value in [item for store in stores for item in store.items()]:
        if other != name and isinstance(value, torch.Tensor) and _memory(value) == _memory(tensor) != 0:
            raise CaptureError(
                f"capture: {name}: expected a buffer with memory of its own, as forward() changes it, got that of "
                f"{other}. What to do: clone one of the two where the model is made"
            )
    with torch.inference_mode(False):
        return State(name, tensor.detach().clone(memory_format=torch.contiguous_format))


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@contextmanager
def unchanged(model: nn.Module, names: Iterable[str]) -> Iterator[None]:
    """Restore the buffers of these names after the block, in which calls of ``model`` may change them."""
    kept = [
        (*_owner(model, name), buffer := model.get_buffer(name), buffer.detach().clone()) for name in names
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, key, buffer, value in kept:
                buffer.copy_(value)
                owner._buffers[key] = buffer  # forward() may have put another tensor there


@contextmanager
def watched_numbers(model: nn.Module) -> Iterator[None]:
    """Warn when calls of ``model`` in the block change numbers that are attributes of modules, and restore them.

    A compiled model keeps the numbers that it was traced with, so a counter among them would stand still.
    """
    before = _numbers(model)
    yield
    for (module, key), (where, value) in before.items():
        now = vars(module).get(key, value)
        if now != value:
            setattr(module, key, value)
            _log.warning(
                "forward() changes %s from %s to %s, and the compiled model will not; register a number that results "
                "depend on as a buffer",
                where,
                value,
                now,
            )


def _numbers(model: nn.Module) -> dict[tuple[nn.Module, str], tuple[str, float]]:
    return {
        (module, key): (f"{name}.{key}" if name else key, value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return model.get_submodule(path), key
