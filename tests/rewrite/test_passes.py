"""What passes say of themselves is so, and the documentation shows the list that ``compile`` runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.rewrite.passes import Pass, select
from l0compile.rewrite.pipeline import (
    COMPACT,
    FORMATS,
    FUSE,
    LAYOUT,
    NORMALIZE,
    PIPELINE,
    describe,
    optimise_dense,
)
from l0compile.rewrite.runner import apply

DOCS = Path(__file__).parents[2] / "docs"
DENSE = (NORMALIZE, FUSE, COMPACT)


class Network(nn.Module):
    """A convolution, attention and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).relu().flatten(2).mT
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return F.gelu(self.out(x))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    return capture(Network().eval(), (torch.randn(1, 3, 4, 4),))


def own_operators(program: Program) -> set[str]:
    return {str(node.target) for node in program.graph.nodes if str(node.target).startswith("l0compile.")}


def operators(program: Program) -> list[tuple[str, str]]:
    return [(node.name, str(node.target)) for node in program.graph.nodes if node.op == "call_function"]


def zeroed(program: Program, share: float) -> Program:
    """Rows of every weight set to zero."""
    constants = {
        name: value * (torch.arange(len(value)) >= share * len(value)).reshape(-1, *[1] * (value.ndim - 1))
        for name, value in program.constants.items()
        if value.ndim > 1
    }
    return replace(program, constants={**program.constants, **constants})


def test_only_passes_that_say_so_write_operators_of_ours(program: Program, target: Target) -> None:
    program, marked = zeroed(program, 0.5), set()
    for step in select((*DENSE, FORMATS, LAYOUT), target=target, costs=None, lanes=16, rows=4):
        after = apply(program, step)
        if own_operators(after) - own_operators(program):
            assert step.adds_operators, step.name
            marked.add(step.name)
        program = after
    assert marked >= {"fuse_attention", "pack_planes", "pack_tokens"}


def test_without_operators_of_ours_the_result_is_aten(program: Program) -> None:
    for step in select(DENSE, own_operators=False):
        program = apply(program, step)
    assert not own_operators(program)


def test_zeros_make_no_difference_to_a_compile_without_them(program: Program) -> None:
    dense = optimise_dense(program, ignore_zeros=True)
    assert operators(optimise_dense(zeroed(program, 0.5), ignore_zeros=True)) == operators(dense)
    assert operators(optimise_dense(zeroed(program, 1.0))) != operators(dense)


def test_denormal_weights_stay_where_they_are_to_stay(program: Program) -> None:
    tiny = {name: v * 1e-40 if v.ndim > 1 else v for name, v in program.constants.items()}
    program = replace(program, constants=tiny)
    kept, flushed = (optimise_dense(program, denormals=denormals) for denormals in (True, False))
    has = [
        any(bool(((v != 0) & (v.abs() < 1e-38)).any()) for v in p.constants.values()) for p in (kept, flushed)
    ]
    assert has == [True, False]


@pytest.mark.parametrize("step", {step.function: step for group in PIPELINE for step in group.passes}.values(),
                         ids=lambda step: step.name)  # fmt: skip
def test_a_pass_says_in_one_sentence_what_it_does(step: Pass) -> None:
    assert step.rule.endswith(".") and 20 < len(step.rule) <= 120 and "|" not in step.rule
    assert step.rule[0].isupper() and not step.rule.startswith(("Rewrite:", "Checks:"))


def test_options_are_those_that_a_pass_takes() -> None:
    def scaled(program: Program, factor: int, rest: str = "") -> Program:
        raise AssertionError((factor, rest))

    step = Pass(scaled, takes=("factor",), options={"rest": "given"}).given({"factor": 3, "other": 4})
    assert step.options == {"rest": "given", "factor": 3}
    with pytest.raises(KeyError):
        Pass(scaled, takes=("factor",)).given({})


def test_the_documentation_shows_the_passes() -> None:
    shown = (DOCS / "passes.md").read_text(encoding="utf-8")
    assert describe() in shown, "write it anew: python -m l0compile.rewrite.pipeline > docs/passes.md"
