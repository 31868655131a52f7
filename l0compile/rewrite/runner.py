"""Run passes in order, check each result, and record what happened."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from l0compile.ir.program import Program
from l0compile.ir.records import PassRecord
from l0compile.ir.shapes import infer_shapes
from l0compile.rewrite.passes import Pass
from l0compile.rewrite.verify import verify, verify_interface

Rewrite = Callable[[Program], Program]
"""A pass: a :class:`l0compile.rewrite.passes.Pass`, or a plain function."""


def run(program: Program, passes: Iterable[Rewrite], *, max_rewrites: int | None = None) -> Program:
    """Apply ``passes`` in order.

    Args:
        program: never changed.
        passes: pure functions; one that finds nothing to do returns its argument itself.
        max_rewrites: stop after this many passes have changed something, to find the one that broke a result.

    Returns:
        The last program, with one :class:`PassRecord` for each pass appended to its history.

    Raises:
        RewriteError: a pass left a malformed graph or changed the model's inputs or outputs.
    """
    verify(program, "capture")
    applied = 0
    for step in passes:
        if max_rewrites is not None and applied >= max_rewrites:
            break
        program = apply(program, step)
        applied += program.history[-1].changed > 0
    return program


def apply(program: Program, step: Rewrite) -> Program:
    """Apply one pass, check its result, and append a record to the history."""
    name = pass_name(step)
    started = time.perf_counter()
    result = step(program)
    changed = 0
    if result is not program:
        verify(result, name, shapes=False)
        if result.graph is not program.graph:
            infer_shapes(result)
        verify_interface(program, result, name)
        changed = count_changes(program, result)
    record = PassRecord(name, changed, time.perf_counter() - started)
    return replace(result, history=(*program.history, record))


def pass_name(step: Rewrite) -> str:
    """The name of a pass, or of a function that stands for one, through ``functools.partial``."""
    if isinstance(step, Pass):
        return step.name
    inner = step.func if isinstance(step, partial) else step
    return str(getattr(inner, "__name__", inner))


def count_changes(before: Program, after: Program) -> int:
    """The number of nodes that one program has and the other has not (the larger of both), or of new constants."""
    old = {(node.name, str(node.target), str(node.args), str(node.kwargs)) for node in before.graph.nodes}
    new = {(node.name, str(node.target), str(node.args), str(node.kwargs)) for node in after.graph.nodes}
    constants = sum(before.constants.get(name) is not tensor for name, tensor in after.constants.items())
    return max(len(old - new), len(new - old), constants)
