"""Buffers that ``forward`` changes: the state of a model."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.export import ExportedProgram

from l0compile.errors import CaptureError


@dataclass(frozen=True)
class State:
    """One buffer that each call replaces. name: dotted, as in the model. tensor: a copy of its value at capture."""

    name: str
    tensor: torch.Tensor


def read_state(name: str, exported: ExportedProgram) -> State:
    """The state of that name. Raises CaptureError when its memory is that of another tensor of the model."""
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
    """While the block runs, calls of ``model`` may change the buffers of these names; then they are as before."""
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


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return model.get_submodule(path), key
