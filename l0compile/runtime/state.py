"""The state of a compiled model: buffers that a call reads and replaces."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import InputError, StateError
from l0compile.ir.tensors import resolved
from l0compile.runtime.plan import StagePlan
from l0compile.runtime.signature import InputSpec, check_tensor, check_values


class ModelState:
    """The values of one sequence of calls, made by one thread.

    Attributes:
        specs: name, type and shape of each buffer, and the number that its values must stay below if they index a
            table.
        initial: values at compile time.
    """

    def __init__(self, specs: Sequence[InputSpec], initial: Sequence[Tensor]) -> None:
        # Loaded tensors are views of one mapped file, and under inference mode none may be written to outside of it.
        self.specs, self.initial = tuple(specs), tuple(_copies(initial))
        self.reset()

    def reset(self, values: Mapping[str, Tensor] | None = None) -> None:
        """Begin a sequence, of whichever thread calls next.

        Raises:
            InputError: other buffers than there are.
        """
        names = [spec.name for spec in self.specs]
        if values is not None and sorted(values) != sorted(names):
            raise InputError(f"reset_state: expected the buffers {names}, got {list(values)}")
        chosen = self.initial if values is None else [values[name] for name in names]
        chosen = [resolved(tensor) for tensor in chosen]
        for spec, tensor in zip(self.specs, chosen, strict=True):
            check_tensor(spec, tensor)
            if tuple(tensor.shape) != spec.shape:
                raise InputError(f"{spec.name}: expected shape {list(spec.shape)}, got {list(tensor.shape)}")
        self._values = _copies(chosen)
        self._owner: threading.Thread | None = None

    def current(self) -> dict[str, Tensor]:
        """Return a copy of the values."""
        return dict(zip((spec.name for spec in self.specs), _copies(self._values), strict=True))

    def run(self, plan: StagePlan, leaves: Sequence[Tensor]) -> list[Any]:
        """Return the results of a call. The state is replaced once all stages have run, and unchanged if one fails.

        Raises:
            StateError: the sequence of another thread is under way.
            InputError: a position is past the end of its table.
        """
        self._claim()
        for spec, value in zip(self.specs, self._values, strict=True):
            _check_position(spec, value)
        try:
            flat = plan([*leaves, *self._values])
        except BaseException:
            plan.take_back()
            raise
        plan.keep()
        results, self._values = _apart(flat, len(self.specs), leaves)
        return results

    def rehearse(self, plan: StagePlan, leaves: Sequence[Tensor]) -> list[Any]:
        """Return the results of a first call, and leave the state alone."""
        try:
            return _apart(plan([*leaves, *self.initial]), len(self.specs), leaves)[0]
        finally:
            plan.take_back()

    def _claim(self) -> None:
        thread = threading.current_thread()
        if self._owner is None:
            self._owner = thread
        if self._owner is not thread:
            raise StateError(
                f"state: this model is in the middle of a sequence of calls by thread {self._owner.name!r}, and its "
                f"buffers ({', '.join(spec.name for spec in self.specs)}) hold that one; got a call by "
                f"{thread.name!r}. For a second sequence load the model once more: each has its own state. To start "
                "anew in this thread call reset_state(), to go on in it reset_state(model.state)"
            )


def _check_position(spec: InputSpec, value: Tensor) -> None:
    try:
        check_values(spec, value)
    except InputError as error:
        raise InputError(f"state: {error}; the sequence is at its end: call reset_state()") from error


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    # Made under inference mode, PyTorch would not let them be written to outside of it.
    with torch.inference_mode(False), torch.no_grad():
        return [tensor.detach().clone(memory_format=torch.contiguous_format) for tensor in tensors]


def _apart(flat: Sequence[Any], count: int, leaves: Sequence[Tensor]) -> tuple[list[Any], list[Tensor]]:
    """Return (results, new state) with no memory in common: the caller may change results and inputs."""
    results, values = list(flat[:-count]), list(flat[-count:])
    taken = {_memory(leaf) for leaf in leaves}
    for number, value in enumerate(values):
        if _memory(value) in taken or not value.is_contiguous():
            values[number] = value.clone(memory_format=torch.contiguous_format)
        taken.add(_memory(values[number]))
    kept = {_memory(value) for value in values}
    return [r.clone() if isinstance(r, Tensor) and _memory(r) in kept else r for r in results], values


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
