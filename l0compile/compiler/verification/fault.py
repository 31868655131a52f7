"""Find where the compiled and the captured model part ways, after verification has failed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.errors import L0CompileError
from l0compile.ir.editor import Editor
from l0compile.ir.program import Program
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import Rewrite, apply, pass_name

Flat = list[Tensor]


def locate(
    captured: Program,
    program: Program,
    passes: Sequence[Rewrite],
    build: Callable[[Program], Callable[[Flat], Flat]],
    inputs: Flat,
    limit: float,
) -> str:
    """Name the first step and region that differ, in words for an error message.

    Args:
        captured: the program before the passes.
        program: what was compiled.
        passes: those that lead from the one to the other, as far as they can be run again.
        build: compiles a program; called for its first half, quarter and so on, a few seconds each.
        inputs: flat inputs that show the difference.
        limit: largest accepted difference, as a share of the largest value.
    """
    try:
        found = _wrong_pass(captured, passes, inputs, limit)
        if found is not None:
            return f"the pass {found[0]} changed it, first seen in {found[1]}"
        return _wrong_code(program, build, inputs, limit)
    except (L0CompileError, RuntimeError) as error:
        return f"where it starts was not found ({type(error).__name__} on the way)"


def _wrong_pass(
    program: Program, passes: Sequence[Rewrite], inputs: Flat, limit: float
) -> tuple[str, str] | None:
    expected = _run(program, inputs)
    for step in passes:
        after = apply(program, step)
        if _differ(expected, _run(after, inputs), limit):
            return pass_name(step), _first_region(program, after, inputs, limit)
        program = after
    return None


def _first_region(before: Program, after: Program, inputs: Flat, limit: float) -> str:
    old, new = _by_region(before, inputs), _by_region(after, inputs)
    for name, value in new.items():
        if name in old and old[name].shape == value.shape and _differ([old[name]], [value], limit):
            return f"region {name}"
    return "no region but what lies between them"


def _by_region(program: Program, inputs: Flat) -> dict[str, Tensor]:
    surveyed = record_regions(program)
    recorder = _RegionRecorder(surveyed.module())
    with torch.no_grad():
        recorder.run(*inputs)
    return recorder.values


class _RegionRecorder(fx.Interpreter):
    """Keeps the first tensor of each region."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and keep its tensor if it is the first of its region."""
        result = super().run_node(n)
        if "region" in n.meta and isinstance(result, Tensor):
            self.values.setdefault(str(n.meta["region"]), result)
        return result


def _wrong_code(
    program: Program, build: Callable[[Program], Callable[[Flat], Flat]], inputs: Flat, limit: float
) -> str:
    """Return the first region at which a program compiled up to there is wrong, by bisection."""
    nodes = [node for node in program.graph.nodes if "region" in node.meta and node.op == "call_function"]
    nodes = [node for node in nodes if isinstance(node.meta.get("val"), Tensor)]

    def wrong(position: int) -> bool:
        part = _up_to(program, nodes[position].name)
        return _differ(_run(part, inputs), build(part)(inputs), limit)

    low, high = 0, len(nodes)
    while low < high:
        middle = (low + high) // 2
        if wrong(middle):
            high = middle
        else:
            low = middle + 1
    if low == len(nodes):
        return "the rewritten graph is right in PyTorch, the code for what follows the last region is not"
    return f"the rewritten graph is right in PyTorch, the code for region {nodes[low].meta['region']} is not"


def _up_to(program: Program, name: str) -> Program:
    editor = Editor(program)
    node = next(node for node in editor.graph.nodes if node.name == name)
    output = next(iter(reversed(editor.graph.nodes)))
    output.args = ((node,),)
    editor.changed += 1
    return editor.finish()


def _run(program: Program, inputs: Flat) -> Flat:
    with torch.no_grad():
        return list(program.module()(*inputs))


def _differ(expected: Flat, got: Flat, limit: float) -> bool:
    for want, have in zip(map(_in_reals, expected), map(_in_reals, got), strict=True):
        if want.shape != have.shape or not torch.equal(want.isnan(), have.isnan()):
            return True
        finite = want.isfinite()
        if not torch.equal(want[~finite], have[~finite]) and not bool(want.isnan().any()):
            return True
        scale = float(want[finite].abs().max()) if bool(finite.any()) else 0.0
        gap = (
            float((want[finite].double() - have[finite].double()).abs().max()) if bool(finite.any()) else 0.0
        )
        if gap > limit * (scale or 1.0):
            return True
    return False


def _in_reals(value: Tensor) -> Tensor:
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
