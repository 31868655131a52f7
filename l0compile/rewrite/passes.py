"""A pass of the pipeline together with what is known of it, and named groups of passes."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from l0compile.ir.program import Program


@dataclass(frozen=True)
class Pass:
    """A pure function from program to program; one that finds nothing to do returns its argument itself.

    Attributes:
        function: takes the program, and by keyword what ``options`` and ``takes`` name.
        uses_zeros: makes use of zeros in weights; a dense compile leaves it out.
        flushes_denormals: changes weights by setting denormal numbers to zero.
        adds_operators: may write operators of ours where ATen's were, so that the result is no ordinary PyTorch.
        takes: names of the keyword arguments that :meth:`given` fills in.
        options: keyword arguments.
    """

    function: Callable[..., Program]
    uses_zeros: bool = False
    flushes_denormals: bool = False
    adds_operators: bool = False
    takes: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, program: Program) -> Program:
        return self.function(program, **self.options)

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @property
    def rule(self) -> str:
        """The first sentence of the function's documentation: what the pass does."""
        return (inspect.getdoc(self.function) or "").split("\n\n")[0].replace("\n", " ").strip()

    def given(self, values: Mapping[str, Any]) -> "Pass":
        """The pass with the options that it takes out of ``values``."""
        return replace(self, options={**self.options, **{name: values[name] for name in self.takes}})


@dataclass(frozen=True)
class PassGroup:
    """Passes that serve one purpose, in the order in which they run."""

    name: str
    purpose: str
    passes: tuple[Pass, ...]


def select(
    groups: Iterable[PassGroup],
    *,
    zeros: bool = True,
    denormals: bool = False,
    own_operators: bool = True,
    **options: Any,
) -> list[Pass]:
    """The passes of some groups in order.

    Args:
        groups: in order.
        zeros: with the passes that use zeros.
        denormals: keep denormal weights: without the passes that flush them.
        own_operators: with the passes that write operators of ours.
        options: what passes may take.
    """
    return [
        step.given(options)
        for group in groups
        for step in group.passes
        if (zeros or not step.uses_zeros)
        and not (denormals and step.flushes_denormals)
        and (own_operators or not step.adds_operators)
    ]
