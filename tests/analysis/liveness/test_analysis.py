"""Liveness is sound: facts hold, dead elements do not matter, and an unknown operator keeps everything."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.analysis.liveness import analyse, register, supported
from l0compile.errors import RewriteError
from l0compile.frontend.export import capture
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import is_op
from l0compile.ir.ops.bsr import to_blocks
from l0compile.ir.program import Program
from l0compile.ir.shapes import infer_shapes
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.runner import run

aten = torch.ops.aten


class Everything(nn.Module):
    """One of each kind of operator in the table, with branches that join again."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 8)
        self.a, self.b, self.gate = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(8, 12)
        self.norm = nn.LayerNorm(12)
        self.q, self.k, self.v = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 8)
        self.mix, self.out = nn.Linear(20, 6, bias=False), nn.Linear(12, 3)
        self.scale = nn.Parameter(torch.randn(12))
        self.register_buffer("z", torch.tensor([1.0, 0.0, 0.5, 1.0]))

    def forward(self, x: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = x + self.table(ids)
        h = F.gelu(self.a(x)) * torch.sigmoid(self.b(x)) + torch.tanh(self.gate(x)) * self.scale
        h = torch.ops.l0compile.gate(h, self.z, [3])
        n = self.norm(h)
        t = torch.ops.l0compile.attention(self.q(n), self.k(n), self.v(n), mask, 4, 0.5, None, None)
        u = torch.ops.l0compile.attention(self.q(n), self.k(h), self.v(h), None, 2, 0.5, None, 0)
        joined = torch.cat([t - u, h], dim=-1)
        y = self.mix(joined.transpose(0, 1)).permute(1, 0, 2)
        wide = y.reshape(*y.shape[:2], 3, 2).transpose(2, 3).flatten(2).unsqueeze(2)
        return self.out(torch.cat([wide, wide.relu()], -1).squeeze(2)), torch.maximum(h, n).mean(1)


@pytest.fixture(scope="module", params=["fixed", "symbolic"])
def program(request: pytest.FixtureRequest) -> Program:
    torch.manual_seed(0)
    shapes = {name: {0: "b", 1: "s"} for name in ("x", "ids")} | {"mask": {0: "b", 3: "s"}}
    dynamic = shapes if request.param == "symbolic" else None
    # In normal form there is no view, which would depend on strides, and noise changes strides.
    return run(capture(Everything().eval(), inputs(2, 3), dynamic_shapes=dynamic), [canonicalize])


def inputs(batch: int, tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    mask = torch.rand(batch, 1, 1, tokens) > 0.3
    return torch.randn(batch, tokens, 8), torch.randint(5, (batch, tokens)), mask


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, 0.2, 0.5, 0.9]))
def test_sound(
    program: Program,
    check_liveness: Callable[..., int],
    with_zeros: Callable[..., Program],
    seed: int,
    share: float,
) -> None:
    check_liveness(with_zeros(program, seed, share), *inputs(2, 3))


def test_finds_dead_elements(
    program: Program, check_liveness: Callable[..., int], with_zeros: Callable[..., Program]
) -> None:
    assert check_liveness(with_zeros(program, 1, 0.5), *inputs(2, 3)) > 50
    assert analyse(program).unknown_ops == ()


def test_unknown_operator_keeps_everything() -> None:
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x).sort(-1)[0])

    model = Sorted().eval()
    nn.init.zeros_(model.second.weight[:, :3].detach())
    program = capture(model, (torch.randn(2, 4),))
    liveness = analyse(program)
    first = next(node for node in program.graph.nodes if is_op(node, aten.linear.default))
    assert bool(liveness.live_channels(first).all())


def facts_of(model: nn.Module, target: object, *args: Tensor) -> tuple[Tensor, Tensor]:
    program = capture(model.eval(), args)
    node = next(node for node in program.graph.nodes if node.target is target)
    return analyse(program).fact(node).last_axis()


def test_rule_1_activation_of_zero_is_kept_as_its_value() -> None:
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Sigmoid())
    with torch.no_grad():
        model[0].weight[1] = 0.0
    known, value = facts_of(model, aten.sigmoid.default, torch.randn(4, 2))
    assert known.tolist() == [False, True, False] and value[1] == 0.5


def test_rule_3_a_dead_channel_is_its_bias() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.GELU())
    with torch.no_grad():
        model[0].weight[2] = 0.0
    known, value = facts_of(model, aten.gelu.default, torch.randn(4, 2))
    assert known.tolist() == [False, False, True]
    torch.testing.assert_close(value[2], F.gelu(model[0].bias[2]))


def test_rule_4_layer_norm_of_constants_is_not_constant() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4))
    with torch.no_grad():
        model[0].weight[0] = 0.0
        model[1].weight[3] = 0.0
        model[1].bias[3] = 7.0
    known, value = facts_of(model, aten.layer_norm.default, torch.randn(4, 2))
    assert known.tolist() == [False, False, False, True] and value[3] == 7.0


def test_a_block_sparse_layer_is_seen_through() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        model[0].weight[:4] = 0.0
        model[1].weight[:, 6] = 0.0
    program = capture(model, (torch.randn(2, 4),))
    editor = Editor(program)
    for node in editor.graph.find_nodes(op="call_function", target=aten.linear.default):
        weight = editor.value(node.args[1])
        assert weight is not None
        parts = [editor.add_constant("part", part, node) for part in to_blocks(weight, 4, 1)]
        args = (node.args[0], *parts, node.args[2], *weight.shape)
        editor.replace(node, editor.call(torch.ops.l0compile.bsr_linear.default, args, before=node))
    sparse = editor.finish()
    infer_shapes(sparse)
    first = sparse.graph.find_nodes(op="call_function", target=torch.ops.l0compile.bsr_linear.default)[0]
    assert analyse(sparse).live_channels(first).tolist() == [False] * 4 + [True, True, False, True]


@pytest.mark.parametrize("masked", [False, True])
def test_masked_attention_of_a_constant_may_be_zero(masked: bool) -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.v = nn.Linear(4, 4)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return torch.ops.l0compile.attention(
                x, x, self.v(x), mask if masked else None, 2, 1.0, None, None
            )

    model = Attend()
    with torch.no_grad():
        model.v.weight[:2] = 0.0
        model.v.bias[:2] = torch.tensor([0.0, 3.0])
    mask = torch.ones(1, 1, 1, 3, dtype=torch.bool)
    known, value = facts_of(model, torch.ops.l0compile.attention.default, torch.randn(1, 3, 4), mask)
    assert known.tolist() == [True, not masked, False, False] and (masked or value[1] == 3.0)


def test_position_constants_are_not_one_number() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("positions", torch.randn(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            return x * 0.0 + self.positions

    known, _ = facts_of(Positions(), aten.add.Tensor, torch.randn(2, 3, 4))
    assert known.tolist() == [False] * 4


def test_the_table_has_one_entry_per_operator() -> None:
    assert "aten.linear.default" in supported() and "l0compile.attention.default" in supported()
    with pytest.raises(RewriteError, match="already has"):
        register(aten.relu.default, forward=lambda node, view: None, backward=lambda node, live, view: {})


def test_attention_with_shared_key_heads() -> None:
    """Two key heads for four query heads: a key or value head is read if any query head of its group is."""

    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(8, 3, bias=False)
            self.out.weight.data[:, :4] = 0.0  # the first group is read by nobody
            self.out.weight.data[:, 4:6] = 0.0  # nor is the third query head

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return self.out(
                torch.ops.l0compile.attention(q, k, v * torch.tensor([1.0, 1, 0, 1]), None, 4, 1.0, None, 0)
            )

    program = capture(Attend().eval(), (torch.randn(1, 3, 8), torch.randn(1, 3, 4), torch.randn(1, 3, 4)))
    liveness = analyse(program)
    q, k, v = program.placeholders
    assert liveness.live_channels(q).tolist() == [False] * 6 + [True] * 2
    assert liveness.live_channels(k).tolist() == [False] * 2 + [True] * 2
    assert liveness.live_channels(v).tolist() == [False, False, False, True]
    node = program.graph.find_nodes(op="call_function", target=torch.ops.l0compile.attention.default)[0]
    assert liveness.fact(node).last_axis()[0].tolist() == [False] * 4 + [True, False] * 2
