"""Whether compiling a recipe changes its answers."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import torch
from torch import nn
from torch.utils import _pytree as pytree

import l0compile as l0
from l0compile.errors import InputError
from l0compile.frontend.export import capture
from l0compile.hardware.targets import Target, load_target
from l0compile.ir.conditions import evaluate
from l0compile.ir.program import Program
from l0compile.rewrite.pipeline import assign_layouts, optimise
from tests.fuzz.build import Graph, build, gated, other_zeros
from tests.fuzz.recipe import Recipe
from tests.zoo.compare import compare

Level = Literal["rewrite", "full", "torch"]
"""The passes alone, run in PyTorch; all of ``compile`` with TVM; all of it with PyTorch as the engine."""

# float32 summed in another order; bfloat16 keeps 8 bits of each intermediate, and folding changes which are rounded.
TOLERANCE = {"float32": 2e-5, "float64": 1e-9, "bfloat16": 6e-2}
# What one rounding may do to a value.
NOISE = {"float32": 1e-7, "float64": 1e-15}
# Where rounding in the eager model itself takes this share of the tolerance, no two orders of summation need to agree.
CONDITION = 0.1


class Mismatch(AssertionError):
    """The compiled graph gives other answers than the model."""


@dataclass(frozen=True)
class Skipped:
    """Why a recipe was not compared."""

    reason: str


def check(recipe: Recipe, level: Level, variants: int = 0) -> list[Skipped | None]:
    """Compile the recipe's model and compare it with itself at both sizes; then with ``variants`` other sets of zeros.

    Capturing costs ten times what all else does, so the variants share one capture. They are tried at the rewrite
    level only, and only where no gate is part of the graph.

    Returns for each set of zeros None when the answers agree, or why they were not compared.
    Raises Mismatch when they differ, and whatever the compiler raises, with the recipe in a note.
    """
    current = recipe
    try:
        if level != "rewrite":
            return [_check_compiled(recipe, "tvm" if level == "full" else "torch")]
        model = build(recipe)
        program = capture(model, recipe.tensors(recipe.sizes), dynamic_shapes=recipe.dynamic_shapes)
        results = [_check_rewrite(recipe, model, program)]
        for number in range(variants if not gated(recipe) else 0):
            current = other_zeros(recipe, number)
            model = build(current)
            weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
            constants = {name: weights.get(name, tensor) for name, tensor in program.constants.items()}
            results.append(_check_rewrite(current, model, replace(program, constants=constants)))
    except Exception as error:
        error.add_note(f"{level} level: {current}")
        raise
    return results


def _calls(recipe: Recipe, model: Graph) -> list[tuple[Any, Any]] | Skipped:
    """(inputs, the model's own result) for each size, or why they cannot serve for a comparison."""
    calls = []
    for sizes in dict.fromkeys((recipe.sizes, recipe.second)):
        inputs = recipe.tensors(sizes)
        with torch.no_grad():
            expected = model(*inputs)
        if reason := ill_conditioned(model, inputs, expected, recipe):
            return Skipped(reason)
        calls.append((inputs, expected))
    return calls


def _check_rewrite(recipe: Recipe, model: Graph, program: Program) -> Skipped | None:
    calls = _calls(recipe, model)
    if isinstance(calls, Skipped):
        return calls
    stages = {"optimised": optimise(program, target())}
    stages["packed"] = assign_layouts(stages["optimised"], lanes=16, rows=4)
    skipped = None
    for inputs, expected in calls:
        if not accepts(program, inputs):
            skipped = Skipped("tracing excludes the second size")
            continue
        for stage, result in stages.items():
            agree(recipe, stage, result.run(*inputs), expected, inputs)
    return skipped


def _check_compiled(recipe: Recipe, engine: str) -> Skipped | None:
    model = build(recipe)
    calls = _calls(recipe, model)
    if isinstance(calls, Skipped):
        return calls
    shapes = recipe.dynamic_shapes
    compiled = l0.compile(model, calls[0][0], dynamic_shapes=shapes, verify=False, engine=engine)
    skipped = None
    for number, (inputs, expected) in enumerate(calls):
        try:
            got = compiled(*inputs)
        except InputError:
            if number == 0:
                raise
            skipped = Skipped("tracing excludes the second size")
            continue
        agree(recipe, engine, got, expected, inputs)
    return skipped


def agree(recipe: Recipe, stage: str, got: Any, wanted: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    """Raise Mismatch where the two differ by more than the tolerance of the recipe's dtype."""
    difference = compare(got, wanted)
    if difference > TOLERANCE[recipe.dtype]:
        sizes = [tuple(value.shape) for value in inputs]
        raise Mismatch(f"{stage}: relative difference {difference:.1e} for inputs of shapes {sizes}")


def ill_conditioned(
    model: Graph, inputs: tuple[torch.Tensor, ...], result: Any, recipe: Recipe
) -> str | None:
    """Why the model's own rounding makes a comparison meaningless, or None."""
    leaves = pytree.tree_leaves(result)
    if not all(bool(leaf.isfinite().all()) for leaf in leaves):
        return "the model itself gives infinity or not-a-number"
    if any(float(leaf.abs().max()) > 1e4 for leaf in leaves if leaf.numel()):
        return "the model's values overflow what its weights were scaled for"
    if recipe.dtype not in NOISE:
        return None
    exact, disturbed = (_double(model, inputs, noise, result) for noise in (0.0, NOISE[recipe.dtype]))
    limit = CONDITION * TOLERANCE[recipe.dtype]
    if compare(result, exact) > limit:
        return "rounding alone moves the model's answers"
    return "rounding of each step could move the answers" if compare(disturbed, exact) > limit else None


def _double(model: Graph, inputs: tuple[torch.Tensor, ...], noise: float, like: Any) -> Any:
    """The result in float64, given back as ``like``; ``noise`` disturbs what each step gives by this share."""
    double = deepcopy(model).double()
    generator = torch.Generator().manual_seed(0)

    def disturb(module: nn.Module, args: Any, result: Any) -> Any:
        return pytree.tree_map(
            lambda x: x * (1 + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)), result
        )

    for step in double.steps if noise else []:
        step.register_forward_hook(disturb)
    with torch.no_grad():
        result = double(*(v.double() if v.is_floating_point() else v for v in inputs))
    return pytree.tree_map(lambda leaf, other: leaf.to(other.dtype), result, like)


def accepts(program: Program, inputs: tuple[torch.Tensor, ...]) -> bool:
    """Whether a compiled model would take inputs of these sizes."""
    sizes = {}
    for node, value in zip(program.placeholders, inputs, strict=True):
        for dim, size in zip(node.meta["val"].shape, value.shape, strict=True):
            sizes[str(dim)] = int(size)
    for symbol, (low, high) in program.symbols.items():
        if symbol in sizes and not (low <= sizes[symbol] and (high is None or sizes[symbol] <= high)):
            return False
    return all(evaluate(condition, sizes) for condition in program.conditions)


@cache
def target() -> Target:
    """Code for this machine; the same object for all recipes."""
    return load_target("native")
