"""A stage that PyTorch runs: instructions carried out one by one."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from l0compile.hardware.process import stop_spinning, torch_threads
from l0compile.ir.instructions import Code, Slot
from l0compile.runtime.prepacked import prepack
from l0compile.runtime.torch_calls import bind, bind_outputs, carry_out
from l0compile.runtime.writing import WRITING, Undo


class TorchStage:
    """Carries out ``code`` on ``constants``.

    Dense layers with constant weights run in oneDNN on weights packed here, once; the plain weight is then dropped.
    """

    def __init__(
        self,
        code: Code,
        constants: Mapping[str, Tensor],
        threads: int | None = None,
        pauses: bool = False,
        writes: Sequence[int] = (),
        borrows: bool = False,
    ) -> None:
        """``threads``: of PyTorch while the stage runs; None leaves the process's own number.
        ``pauses``: TVM runs next, so PyTorch's other threads are not left spinning. ``writes``: inputs, by position,
        whose memory an operator may write to, as nobody needs their old values. ``borrows``: constants are read
        where the model has them, until ``own`` is called.

        Raises: ArtifactError for an operator that this PyTorch does not have.
        """
        self.code, self.threads, self.pauses, self._limit = code, threads, pauses, threads
        self.writes = tuple(writes)
        plain = {name: constants[name] for name in code.constants}
        self._packed = prepack(code, plain)
        self._plain = {name: t for name, t in plain.items() if name not in self._packed.originals}
        self._written: Undo = []
        self._borrows = True
        self._bind() if borrows else self.own()

    def own(self) -> None:
        """Copy what is borrowed where other constants were packed.

        Loaded weights are views of one mapped file, which would stay in memory for the sake of a few biases.
        """
        if self._borrows:
            self._borrows = False
            if self._packed.originals:
                self._plain = {name: t.clone() for name, t in self._plain.items()}
            self._bind()

    def _bind(self) -> None:
        code = self.code
        fixed = [self._plain.get(name) for name in code.constants]
        self._slots: list[Any] = [None] * code.inputs + fixed + [None] * len(code.instructions)
        self._calls = bind(code, {**self._packed.kernels, **self._writing()}, self._slots)
        self._outputs = bind_outputs(code, self._slots)
        self._owned = {t.untyped_storage().data_ptr() for t in self._plain.values()}

    def limit(self, threads: int | None) -> None:
        """Use no more threads than that from now on; None: as many as before."""
        self._limit = min(filter(None, (threads, self.threads)), default=None)

    @property
    def constants(self) -> dict[str, Tensor]:
        """The constants by name; packed ones are unpacked for this call."""
        unpacked = {name: unpack() for name, unpack in self._packed.originals.items()}
        return {
            name: self._plain[name] if name in self._plain else unpacked[name] for name in self.code.constants
        }

    def __call__(self, inputs: Sequence[Tensor]) -> list[Any]:
        """Contiguous outputs for ``inputs``; a result that is an input, or part of a constant, is a copy, and none is
        negated or conjugated lazily. One that was written to an input is that input."""
        if torch.is_grad_enabled():
            with torch.no_grad():
                return self(inputs)
        slots = list(self._slots)
        slots[: len(inputs)] = inputs
        with torch_threads(self._limit):
            carry_out(self._calls, slots)
        if self.pauses and self._limit != 1:
            stop_spinning()
        given = {t.untyped_storage().data_ptr() for i, t in enumerate(inputs) if i not in self.writes}
        return [self._copied(value, given) for value in self._outputs(slots)]

    def _writing(self) -> dict[int, Any]:
        """Instruction -> (function, arguments) of those that write to an input."""
        found: dict[int, Any] = {}
        for number, instruction in enumerate(self.code.instructions):
            first = instruction.args[0] if instruction.args else None
            if isinstance(first, Slot) and first.number in self.writes and instruction.target in WRITING:
                function = partial(WRITING[instruction.target], self._written)
                found[number] = function, instruction.args
        return found

    def keep(self) -> None:
        """Take what was written into inputs as final."""
        self._written.clear()

    def take_back(self) -> None:
        """Undo what was written into inputs since ``keep``."""
        while self._written:
            self._written.pop()()

    def _copied(self, value: Any, given: set[int]) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.layout is not torch.strided:  # a sparse result has no memory of its own to share
            return value
        # What reads memory itself would miss a sign, or a conjugation, that PyTorch has only noted.
        value = value.resolve_conj().resolve_neg()
        memory = value.untyped_storage().data_ptr()
        if memory in given or memory in self._owned:
            return value.clone(memory_format=torch.contiguous_format)
        return value.contiguous()
