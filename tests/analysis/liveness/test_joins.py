"""Concatenation with empty parts: torch takes an empty tensor of rank 1 among tensors of any rank."""

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.analysis.coupling import couple
from l0compile.analysis.liveness import analyse
from l0compile.frontend.export import capture
from l0compile.ir.nodes import arguments, is_empty_part, is_op
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.pipeline import dense_passes
from l0compile.rewrite.runner import run

aten = torch.ops.aten

PARTS = st.lists(st.sampled_from(["vector", "double", "slice", "input", "linear"]), min_size=1, max_size=5)


class Joined(nn.Module):
    """Parts of [2, 3, 4], some of them empty, joined along one axis and read by a linear layer with dead columns."""

    def __init__(self, parts: list[str], axis: int) -> None:
        super().__init__()
        self.parts, self.axis = parts, axis
        self.linear = nn.Linear(4, 4)
        with torch.no_grad():
            self.linear.weight[1:3], self.linear.bias[1:3] = 0.0, 0.0
        width = 4 * sum(part in ("input", "linear") for part in parts) if axis in (2, -1) else 4
        self.reader = nn.Linear(width, 3, dtype=torch.float64 if "double" in parts else None)

    def forward(self, x: Tensor) -> Tensor:
        made = {
            "vector": torch.empty(0),
            "double": x.new_empty(0, dtype=torch.float64),
            "slice": x.narrow(self.axis, 1, 0),
            "input": x,
            "linear": self.linear(x),
        }
        return self.reader(torch.cat([made[part] for part in self.parts], self.axis))


@settings(max_examples=12)
@given(parts=PARTS.filter(lambda parts: bool({"input", "linear"} & set(parts))), axis=st.integers(-3, 2))
def test_empty_parts_count_for_the_type_alone(
    check_liveness: Callable[..., int], parts: list[str], axis: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4)
    program = capture(Joined(parts, axis).eval(), (x,))
    # Analyses do without the normal form, in which nothing empty is left.
    check_liveness(program, x)
    couple(program, analyse(program))
    result = run(program, dense_passes())
    for joined in (node for node in result.graph.nodes if is_op(node, aten.cat.default)):
        assert not any(is_empty_part(part, joined) for part in arguments(joined)["tensors"])
    torch.testing.assert_close(result.module()(x), program.module()(x))


def test_one_part_that_is_left_is_the_result() -> None:
    class Grows(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            nothing = x.new_empty(0)
            return torch.cat([nothing, x], -2).relu(), torch.concat([x, nothing.double()], 1).relu()

    x = torch.randn(1, 2, 3, 4)
    result = run(capture(Grows().eval(), (x,)), [canonicalize])
    assert not any(is_op(node, aten.cat.default, aten.empty.memory_format) for node in result.graph.nodes)
    for got, want in zip(result.module()(x), Grows()(x), strict=True):
        assert got.dtype == want.dtype and torch.equal(got, want)
