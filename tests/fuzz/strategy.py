"""Draws recipes. Each operator runs as it is drawn, so that the sizes of its result are known."""

from typing import Any

import torch
from hypothesis import strategies as st

from tests.fuzz.build import make_module, run
from tests.fuzz.operator_table import OPERATORS, Draw
from tests.fuzz.recipe import Input, Recipe, Step, Zeros
from tests.fuzz.shape import Shape
from tests.fuzz.zeros import GATES, PLAIN

SOURCES = (("tokens",), ("tokens", "mask"), ("image",), ("rows",), ("ids", "mask"), ("tokens", "ids"))
MAX_STEPS = 7
# Operators that can hold zeros, or that give zeros something to pass through, are drawn more often than the others.
COMMON = ("linear", "feed_forward", "convolution", "layer_norm", "batch_norm", "attention", "unary", "binary")
WITH_GATES = ("linear", "feed_forward", "attention", "cross_attention", "masked_attention")


@st.composite
def recipes(draw: Draw, max_steps: int = MAX_STEPS) -> Recipe:
    """A recipe of up to ``max_steps`` operators with zeros in about two of three parametrised steps."""
    inputs = tuple(Input(kind) for kind in draw(st.sampled_from(SOURCES)))
    recipe = Recipe(
        inputs=inputs,
        steps=(),
        outputs=(0,),
        dynamic=draw(st.sampled_from([(), ("batch",), ("batch", "length")])),
        other=draw(st.sampled_from([(3, 7), (1, 8), (5, 9)])),
        dtype=draw(st.sampled_from(["float32"] * 8 + ["float64", "bfloat16"])),
        seed=draw(st.integers(0, 999)),
    )
    return draw_steps(draw, recipe, draw(st.integers(1, max_steps)))


def draw_steps(draw: Draw, recipe: Recipe, count: int) -> Recipe:
    """The recipe with ``count`` steps, and outputs."""
    dtype = getattr(torch, recipe.dtype)
    values = list(zip(recipe.tensors(recipe.sizes), recipe.tensors(recipe.second), strict=True))
    steps: list[Step] = []
    for number in range(count):
        shapes = [Shape.of(pair) for pair in values]
        step = draw_step(draw, shapes, recipe.dtype)
        if step is None:
            break
        module = make_module(step, shapes, recipe.seed + number).to(dtype)
        values.extend(run(module, [values[i] for i in step.reads]))
        steps.append(step)
    first = len(recipe.inputs)
    if len(values) == first:
        return Recipe(recipe.inputs, (Step("unary", (0,), {"kind": "neg"}),), (first,))
    last = len(values) - 1
    more = draw(st.lists(st.integers(first, last), max_size=2, unique=True))
    outputs = (last, *(i for i in more if i != last))
    structure = draw(st.sampled_from(["tuple", "dict"])) if len(outputs) > 1 else "tensor"
    return Recipe(
        recipe.inputs, tuple(steps), outputs, structure, recipe.dynamic, recipe.sizes, recipe.other,
        recipe.dtype, recipe.seed,
    )  # fmt: skip


def draw_step(draw: Draw, shapes: list[Shape], dtype: str) -> Step | None:
    """An operator that fits some of the values, the newest more likely; None where none does."""
    newest = draw(st.sampled_from([-1, -1, -1, -2, -3]))
    first = max(len(shapes) + newest, 0)
    candidates = fitting(shapes, first)
    if not candidates:
        first = next((i for i in reversed(range(len(shapes))) if fitting(shapes, i)), -1)
        if first < 0:
            return None
        candidates = fitting(shapes, first)
    name = draw(st.sampled_from(sorted(candidates, key=lambda n: n not in COMMON)))
    if draw(st.booleans()):
        name = draw(st.sampled_from([n for n in COMMON if n in candidates] or [name]))
    reads = draw(st.sampled_from(candidates[name]))
    operands = [shapes[i] for i in reads]
    attributes = OPERATORS[name].attributes(draw, *operands)
    has_parameters = any(True for _ in OPERATORS[name].make(*operands, **attributes).parameters())
    return Step(name, reads, attributes, draw_zeros(draw, name, dtype) if has_parameters else None)


def fitting(shapes: list[Shape], first: int) -> dict[str, list[tuple[int, ...]]]:
    """Operator -> the operands it takes with value ``first`` leading."""
    found: dict[str, list[tuple[int, ...]]] = {}
    others = [*range(len(shapes) - 1, -1, -1)]
    for name, operator in OPERATORS.items():
        candidates: list[tuple[int, ...]] = [(first,)]
        for _ in range(operator.operands - 1):
            candidates = [(*chosen, other) for chosen in candidates for other in others]
        fits = [reads for reads in candidates if operator.fits(*(shapes[i] for i in reads))]
        if fits:
            found[name] = fits
    return found


def draw_zeros(draw: Draw, name: str, dtype: str) -> Zeros | None:
    """Zeros for a step with parameters, or none in it."""
    kinds: list[Any] = [None, *PLAIN, *PLAIN]
    if name in WITH_GATES and dtype == "float32":
        kinds.extend(GATES)
    kind = draw(st.sampled_from(kinds))
    return None if kind is None else Zeros(kind, draw(st.sampled_from([0.5, 0.25, 0.9])))
