"""Random graphs with random zeros give the model's own answers; and the fuzzer notices when they do not."""

from dataclasses import replace

import pytest
import torch
from torch import fx

from l0compile.ir.program import Program
from tests.fuzz import check as checking
from tests.fuzz.batch import run_batch
from tests.fuzz.check import Level, Mismatch, check
from tests.fuzz.recipe import Input, Recipe, Step, Zeros


# Counted by their sets of zeros, more than 300 graphs: 40 captures with 10 each (with gates 1), and 16 compiled.
@pytest.mark.parametrize(
    ("level", "examples", "variants"), [("rewrite", 40, 9), ("full", 8, 0), ("torch", 8, 0)]
)
def test_random_graphs(level: Level, examples: int, variants: int) -> None:
    outcome = run_batch(0, examples, level, variants)
    assert outcome.failure is None, outcome.failure
    total = outcome.compared + outcome.skipped.total()
    assert total >= 0.7 * examples * (variants + 1)
    assert outcome.compared >= 0.6 * total, outcome.skipped


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_more_random_graphs_compiled(seed: int) -> None:
    outcome = run_batch(seed, 20, "full", 0)
    assert outcome.failure is None, outcome.failure


def forget_biases(program: Program, *_: object, **__: object) -> Program:
    """What a wrong pass might do: a bias with a zero in it is taken for all zero."""
    graph, constants = program.edit()
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default):
        bias = node.args[2] if len(node.args) > 2 else None
        if isinstance(bias, fx.Node) and bool((constants[str(bias.target)] == 0).any()):
            constants[str(bias.target)] = torch.zeros_like(constants[str(bias.target)])
    return program.with_graph(graph, constants)


def test_a_wrong_pass_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "optimise", forget_biases)
    outcome = run_batch(0, 30, "rewrite", 4, shrink=False)
    assert outcome.failure is not None and "Mismatch: optimised" in outcome.failure


def test_ill_conditioned_graphs_are_skipped_with_the_reason() -> None:
    """The norm of a vector of equal values divides rounding by the square root of epsilon."""
    flat = (Step("unary", (0,), {"kind": "zero"}), Step("linear", (1,), {"width": 8, "bias": True}))
    equal = (Step("expand", (2,), {"axis": 2, "count": 4}), Step("permute", (3,), {"order": [0, 1, 3, 2]}))
    recipe = Recipe((Input("tokens"),), (*flat, *equal, Step("layer_norm", (4,), {"affine": False})), (5,))
    assert "rounding" in str(check(recipe, "rewrite")[0])
    assert check(replace(recipe, outputs=(4,)), "rewrite") == [None]


def test_a_mismatch_names_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "optimise", forget_biases)
    pruned = Step("linear", (0,), {"width": 8, "bias": True}, Zeros("rows and bias", 0.5))
    recipe = Recipe((Input("rows"),), (pruned,), (1,))
    with pytest.raises(Mismatch, match="optimised: relative difference") as caught:
        check(recipe, "rewrite")
    # The note is Python that makes the failing graph again.
    assert repr(recipe) in caught.value.__notes__[0]
