"""fuse_complex_rope: the rotation of the reference code of Llama and SAM 2 becomes one operator."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.analysis.liveness import analyse
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.fuse.fuse_complex_rope import fuse_complex_rope
from l0compile.rewrite.layout.tokens import pack_tokens
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.complex_pairs import complex_to_pairs
from l0compile.rewrite.runner import run

aten, l0 = torch.ops.aten, torch.ops.l0compile
ROPE = l0.rope.default


def plain(z: Tensor, table: Tensor) -> Tensor:
    return z * table


class Turn(nn.Module):
    """Query projection [B, S, 6] -> [B, S, H, D], or [B, H, S, D], turned by ``formula`` of it and a complex table."""

    def __init__(
        self, formula: Callable[..., Tensor] = plain, heads: int = 2, width: int = 4, first: bool = False
    ) -> None:
        super().__init__()
        self.formula, self.heads, self.first, self.q = formula, heads, first, nn.Linear(6, heads * width)
        angles = torch.outer(torch.arange(12), torch.linspace(0.1, 1.0, width // 2))
        self.register_buffer("table", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).view(*x.shape[:2], self.heads, -1)
        q = q.transpose(1, 2) if self.first else q
        z = torch.view_as_complex(q.float().reshape(*q.shape[:-1], -1, 2))
        table = self.table[: x.shape[1]]
        table = table[None, None] if self.first else table.view(1, x.shape[1], 1, -1)
        y = torch.view_as_real(self.formula(z, table)).flatten(3).type_as(x)
        return (y.transpose(1, 2) if self.first else y).flatten(2)


OTHERS: dict[str, Callable[..., Tensor]] = {
    "the other way": lambda z, table: z * table.conj(),
    "two tables": lambda z, table: torch.complex((z * table).real, (z * (table * 2)).imag),
    "a table per head": lambda z, table: z * table.expand(-1, -1, 2, -1).cumsum(2),
    "parts exchanged": lambda z, table: torch.complex((z * table).imag, (z * table).real),
}


def pairs(model: nn.Module, x: Tensor, dynamic: Any = None) -> Program:
    return run(
        capture(model.eval(), (x,), dynamic_shapes=dynamic), [canonicalize, complex_to_pairs, canonicalize]
    )


@pytest.mark.parametrize("first", [False, True], ids=["llama", "sam"])
@pytest.mark.parametrize("dynamic", [None, {"x": {0: "batch", 1: "length"}}], ids=["fixed", "symbolic"])
def test_both_layouts(
    first: bool, dynamic: Any, apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6)
    program = pairs(Turn(first=first), x, dynamic)
    result = run(apply_once(program, fuse_complex_rope, x), [canonicalize])
    assert (
        count(result, ROPE) == 1
        and count(result, aten.stack.default) == count(result, aten.transpose.int) == 0
    )
    packed = apply_once(result, partial(pack_tokens, lanes=4, rows=4), x)
    names = [str(node.target) for node in packed.graph.nodes if "l0compile" in str(node.target)]
    assert names.count("l0compile.packed_rope.default") == 1 and names.count("l0compile.unpack.default") == 1
    if dynamic:
        y = torch.randn(3, 5, 6)
        torch.testing.assert_close(packed.run(y), program.run(y))


@settings(max_examples=3)
@given(heads=st.integers(1, 3), half=st.integers(1, 3), first=st.booleans(), seed=st.integers(0, 99))
def test_any_size(
    heads: int,
    half: int,
    first: bool,
    seed: int,
    apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(2, 3, 6)
    program = pairs(Turn(lambda z, table: table * z, heads, 2 * half, first), x)
    assert count(apply_once(program, fuse_complex_rope, x), ROPE) == 1


@pytest.mark.parametrize("name", OTHERS)
def test_refusals(name: str) -> None:
    program = pairs(Turn(OTHERS[name]), torch.randn(2, 3, 6))
    if name == "the other way":  # a rotation too, by a table of its own
        assert fuse_complex_rope(program) is not program
    else:
        assert fuse_complex_rope(program) is program


def test_a_feature_lives_with_its_neighbour() -> None:
    class Read(nn.Module):
        def forward(self, x: Tensor, cos: Tensor) -> Tensor:
            kept = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 1])
            turned = l0.rope(x * kept, cos, cos, 2, True)
            return turned[..., :4], turned[..., 7:] * 2  # type: ignore[return-value]

    program = capture(Read().eval(), (torch.randn(1, 3, 8), torch.randn(1, 3, 2)))
    liveness = analyse(program)
    node = program.graph.find_nodes(op="call_function", target=ROPE)[0]
    assert liveness.fact(node).last_axis()[0].tolist() == [False, False, True, True, True, True, False, False]
    assert liveness.live_channels(program.placeholders[0]).tolist() == [True] + [False] * 6 + [True]
