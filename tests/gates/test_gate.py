"""State of a gate: state_dict, hardened constants, and the node it becomes in torch.export."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from l0compile.gates import (
    Block,
    Granularity,
    Head,
    Layer,
    Neuron,
    attach,
    dense_weight,
    harden,
    hardening,
    named_gates,
)

GATE = torch.ops.l0compile.gate.default


class Residual(nn.Module):
    """A down projection inside a residual branch."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(x)))


def gated(*granularities: Granularity) -> Residual:
    torch.manual_seed(0)
    model = attach(Residual(), {"down": granularities})
    with torch.no_grad():
        for gate in named_gates(model).values():
            gate.log_alpha.uniform_(-6, 3)
    return model


@pytest.mark.parametrize("hardened", [False, True])
def test_state_dict_round_trip(hardened: bool) -> None:
    source, copy = (
        gated(Block(4, 1), Neuron(), Layer()),
        attach(Residual(), {"down": (Block(4, 1), Neuron(), Layer())}),
    )
    if hardened:
        harden(source, 0.3)
    copy.load_state_dict(source.state_dict())
    x = torch.randn(5, 6)
    assert torch.equal(source.eval()(x), copy.eval()(x))
    assert hardening(source) == hardening(copy) and (hardening(copy) is not None) == hardened


def test_loading_a_state_from_before_hardening_undoes_it() -> None:
    model = gated(Block(4, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    harden(model)
    model.load_state_dict(before)
    assert hardening(model) is None and named_gates(model)["down.l0_block"].log_alpha.requires_grad


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("granularity", "shape", "block"),
    [(Block(4, 1), [6, 8], [4, 1]), (Head(4), None, [2]), (Neuron(), None, [1]), (Layer(), None, [6])],
)
def test_export_has_one_node_a_gate(
    granularity: Granularity, shape: list[int] | None, block: list[int], strict: bool
) -> None:
    model = harden(gated(granularity)).eval()
    x = torch.randn(4, 6)
    exported = export(model, (x,), dynamic_shapes=({0: Dim("rows", max=512)},), strict=strict)
    (node,) = [n for n in exported.graph.nodes if n.target == GATE]
    assert node.args[2] == block
    assert shape is None or list(node.args[0].meta["val"].shape) == shape
    # Its values are the buffer and nothing computed: sampling and the median rule are not in the graph.
    assert node.args[1].op == "placeholder" and exported.graph_signature.inputs_to_buffers[
        node.args[1].name
    ].endswith(".z")
    wide = torch.randn(9, 6)
    torch.testing.assert_close(exported.module()(wide), model(wide))


def test_compiled_training_step_has_the_eager_gradients() -> None:
    model = gated(Block(4, 1), Neuron())
    harden(model, 0.5)
    x = torch.randn(4, 6)
    model(x).square().sum().backward()
    eager = dense_weight(model.down).grad.clone()
    model.zero_grad()
    torch.compile(model, backend="aot_eager")(x).square().sum().backward()
    torch.testing.assert_close(dense_weight(model.down).grad, eager)


def test_gates_follow_the_dtype_of_the_model() -> None:
    model = gated(Block(4, 1), Neuron()).to(torch.bfloat16).eval()
    assert model(torch.randn(2, 6, dtype=torch.bfloat16)).dtype == torch.bfloat16
