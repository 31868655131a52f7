"""What tracing took for granted about sizes is checked at every call: no silently wrong answer at another size."""

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.capture import capture
from l0compile.errors import InputError

DYNAMIC = {"x": {0: "batch", 1: "seq"}}


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[0] < x.shape[1] else -x


class Tail(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(0, 1)[-30:]


class Plain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(1)


def test_a_size_dependent_branch_is_refused_elsewhere() -> None:
    compiled = l0.compile(Branch().eval(), (torch.randn(3, 6),), dynamic_shapes=DYNAMIC)
    x = torch.randn(4, 9)
    torch.testing.assert_close(compiled(x), x * 2)
    with pytest.raises(InputError, match=r"expected sizes with \(batch < seq\).*got batch = 6, seq = 3"):
        compiled(torch.randn(6, 3))


def test_conditions_survive_saving(tmp_path) -> None:  # type: ignore[no-untyped-def]
    l0.compile(Branch().eval(), (torch.randn(3, 6),), dynamic_shapes=DYNAMIC).save(tmp_path / "m")
    with pytest.raises(InputError, match="expected sizes with"):
        l0.load(tmp_path / "m")(torch.randn(6, 3))


def test_a_slice_that_depends_on_the_size_is_refused_elsewhere() -> None:
    compiled = l0.compile(Tail().eval(), (torch.randn(3, 6, 2),), dynamic_shapes=DYNAMIC)
    assert compiled(torch.randn(4, 7, 2)).shape == (28, 2)
    with pytest.raises(InputError, match="expected sizes with"):
        compiled(torch.randn(5, 7, 2))


def test_ranges_alone_leave_no_condition() -> None:
    assert capture(Plain().eval(), (torch.randn(3, 6),), dynamic_shapes=DYNAMIC).conditions == ()
