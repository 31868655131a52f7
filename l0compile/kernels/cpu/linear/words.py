"""Results of a linear layer of narrow numbers, written as words for the kernel that reads them."""

from dataclasses import dataclass

from l0compile.kernels.cpu.lanes import Expr, broadcast, start_of, store
from l0compile.kernels.cpu.linear.blocks import Accumulators, Microkernel
from l0compile.kernels.cpu.word_form import WordForm, inverses_of
from l0compile.kernels.tir import TB


@dataclass(frozen=True)
class WordMicrokernel(Microkernel):
    """A microkernel whose results may be words, as ``spec.result`` says."""

    def _finish(self, sums: list[Accumulators], first: Expr, registers: list[Expr]) -> None:
        form = self.spec.result
        if form is None:
            super()._finish(sums, first, registers)
            return
        # The rows of a unit are whole words: ``check_schedule``, and n is a multiple of the rows of a block.
        joined = [self._joined(sums, r) for r in range(self.schedule.rows)]
        for r in range(0, len(joined), form.features):
            inverses = inverses_of(self.to.inverse, first + r, form.features)
            row = (first + r) // form.features
            for v, lanes in enumerate(registers):
                values = [self._result(joined[r + b][v], first + r + b) for b in range(form.features)]
                places = form.lanes(start_of(lanes), self.width)
                store(self.to.y, form.words(values, inverses, self.width), self.t, row, places)
            self._fill_words(form, row)

    def _fill_words(self, form: WordForm, row: Expr) -> None:
        """As ``_fill`` does it with numbers."""
        rest = (self.tile.vector - self.width) // form.tokens
        if rest > 0:
            zero = broadcast(TB.int32(0), rest)
            store(self.to.y, zero, self.t, row, form.lanes(self.width, self.tile.vector - self.width))
