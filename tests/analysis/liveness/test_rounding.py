"""Dead channels that stay for the kernels' sake: whole vectors, whole blocks."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.rewrite.compact.compact import compact
from l0compile.rewrite.runner import run

aten = torch.ops.aten


def pruned(density: float, dead: int, seed: int = 0) -> nn.Sequential:
    """Two layers with blocks of 4x1 left at a density, and ``dead`` neurons between them that nothing reads."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)).eval().requires_grad_(False)
    for layer in (model[0], model[2]):
        n, k = layer.weight.shape
        layer.weight *= (torch.rand(n // 4, 1, k) < density).expand(-1, 4, -1).reshape(n, k)
    model[2].weight[:, torch.randperm(128)[:dead]] = 0.0
    return model


def hidden(model: nn.Sequential) -> torch.Tensor:
    """The first weight after compaction."""
    program = run(capture(model, (torch.randn(1, 64),)), [compact])
    node = program.graph.find_nodes(op="call_function", target=aten.linear.default)[0]
    return program.constants[str(node.args[1].target)]


def blocks(weight: torch.Tensor) -> int:
    return int((weight.reshape(-1, 4, weight.shape[1]) != 0).any(1).sum())


def test_dead_rows_inside_blocks_stay_where_most_blocks_are_zero() -> None:
    model = pruned(0.1, dead=30)
    weight = hidden(model)
    assert blocks(weight) <= blocks(model[0].weight)


def test_dead_rows_of_a_dense_weight_go() -> None:
    assert hidden(pruned(1.0, dead=32)).shape == (96, 64)


@settings(max_examples=15, deadline=None)
@given(density=st.sampled_from([0.05, 0.3, 1.0]), dead=st.integers(0, 127), seed=st.integers(0, 20))
def test_answers_stay(density: float, dead: int, seed: int) -> None:
    model = pruned(density, dead, seed)
    program = run(capture(model, (torch.randn(1, 64),)), [compact])
    x = torch.randn(1, 64)
    torch.testing.assert_close(program.run(x), model(x), rtol=1e-5, atol=1e-5)
    rows = hidden(model)
    assert blocks(F.pad(rows, (0, 0, 0, -len(rows) % 4))) <= blocks(model[0].weight)
