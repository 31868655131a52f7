"""canonicalize: what does nothing goes, what only looks like it stays."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.canonicalize import canonicalize

aten = torch.ops.aten


class Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        unused = x * 3  # noqa: F841
        y = self.drop(self.linear(x.clone())).contiguous().detach()
        y = y.view(x.shape[0], -1, 2, 3).transpose(1, 2).transpose(2, 1).reshape(x.shape)
        y = y.expand(x.shape)[:, 0:].to(torch.float32)
        return y + torch.zeros(6).expand(x.shape)


def test_only_arithmetic_is_left(apply_once: Callable[..., Program]) -> None:
    program = capture(Noise().eval(), (torch.randn(2, 3, 6),), dynamic_shapes={0: "b", 1: "s"})
    result = apply_once(program, canonicalize, torch.randn(4, 5, 6))
    left = [str(node.target) for node in result.graph.nodes if node.op == "call_function"]
    assert left.count("aten.linear.default") == 1 and not {"aten.clone.default", "aten.view.default"} & set(
        left
    )
    assert "aten.reshape.default" not in left and "aten.expand.default" not in left


def test_golden(captured: Callable[..., Program], golden: Callable[[str, str], None]) -> None:
    program = canonicalize(captured(Noise(), torch.randn(2, 3, 6)))
    golden("canonicalize.txt", str(program.graph) + "\n")


def test_a_view_after_a_dropped_copy_still_runs(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.transpose(0, 1).contiguous().view(-1)

    result = apply_once(captured(Flat(), torch.randn(2, 3)), canonicalize, torch.randn(2, 3))
    assert count(result, aten.clone.default) == 0 and count(result, aten.reshape.default) == 1


def test_changes_of_value_type_or_order_stay(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    class Real(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            swapped = x.transpose(0, 1).transpose(1, 2)
            return swapped, x.to(torch.float64), x[:, 1:], x.expand(2, 2, 2, 2), (x + 0.0)

    x = torch.randn(2, 2, 2)
    x[0, 0, 0] = -0.0
    result = apply_once(captured(Real(), x), canonicalize, x)
    for op in (
        aten.transpose.int,
        aten._to_copy.default,
        aten.slice.Tensor,
        aten.expand.default,
        aten.add.Tensor,
    ):
        assert count(result, op) == (2 if op is aten.transpose.int else 1)


def test_rank_zero_operands_keep_their_type(
    captured: Callable[..., Program], agree: Callable[..., None]
) -> None:
    class Promote(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("c", torch.tensor(0.1, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.c.expand(x.shape)

    program = captured(Promote(), torch.randn(3))
    result = canonicalize(program)
    agree(program, result, torch.randn(3))
    assert result.module()(torch.randn(3))[0].dtype == torch.float64


def test_sizes_are_read_from_inputs(prenorm_program: Program) -> None:
    result = canonicalize(prenorm_program)
    for node in result.graph.find_nodes(op="call_function", target=aten.sym_size.int):
        assert node.args[0].op == "placeholder"  # type: ignore[union-attr]
