"""Who says which keys a tile of queries walks: all of a range, or those that lists have."""

from typing import Protocol

from l0compile.kernels.cpu.lanes import Expr

Marks = tuple[Expr, ...]
"""Registers."""


class KeySource(Protocol):
    """The keys of a tile of queries, in steps of as many as a schedule says; all numbers are int32."""

    @property
    def looks_up(self) -> bool:
        """Whether keys are found ahead of their step, and their numbers lie in shared memory."""

    @property
    def steps(self) -> Expr:
        """How many there are."""

    def prepare(self, step: Expr) -> None:
        """Find the keys of a step. A barrier follows before they are loaded."""

    def row_of(self, step: Expr, slot: Expr) -> tuple[Expr, Expr]:
        """(key in place ``slot`` of a step, whether it is to be read); one that is not may be anything."""

    def key(self, step: Expr, slot: Expr) -> Expr:
        """The key in place ``slot`` of a step, to find its mask by; of the sequence, whatever is there."""

    def clear(self, step: Expr) -> Expr:
        """Whether every query sees every key of a step, but for masks."""

    def of_row(self, row: Expr) -> Marks:
        """What says which keys the query in place ``row`` of the tile sees."""

    def of_column(self, step: Expr, slot: Expr) -> Marks:
        """What says which queries see the key in place ``slot`` of a step."""

    def seen(self, row: Marks, column: Marks) -> Expr:
        """Whether that query sees that key, but for masks. Without a branch: memory is read in any case."""
