"""What tracing took for granted about sizes is checked at every call: no silently wrong answer at another size."""

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import InputError
from l0compile.frontend.export import capture

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


class Half(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1::2] * 2


class Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half = x[:, 1::2]
        return half * 2 if half.shape[1] != 1 else half * 3


def test_a_derived_size_of_one_is_taken_where_the_model_agrees() -> None:
    program = capture(Half().eval(), (torch.randn(3, 6),), dynamic_shapes=DYNAMIC)
    assert program.conditions == ()
    compiled = l0.compile(Half().eval(), (torch.randn(3, 6),), dynamic_shapes=DYNAMIC)
    for tokens in (2, 3, 5):
        x = torch.randn(1, tokens)
        torch.testing.assert_close(compiled(x), Half()(x))


def test_a_derived_size_of_one_stays_refused_where_the_model_treats_it_apart() -> None:
    compiled = l0.compile(Odd().eval(), (torch.randn(3, 6),), dynamic_shapes=DYNAMIC)
    torch.testing.assert_close(compiled(torch.ones(2, 4)), torch.full((2, 2), 2.0))
    for tokens in (2, 3):
        with pytest.raises(InputError, match="expected sizes with"):
            compiled(torch.ones(2, tokens))


def test_a_multiple_of_a_size() -> None:
    class Pairs(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(3, -1, 2).sum(1)

    half = torch.export.Dim("half", min=1, max=20)
    compiled = l0.compile(Pairs().eval(), (torch.randn(3, 6),), dynamic_shapes=({1: 2 * half},))
    x = torch.randn(3, 10)
    torch.testing.assert_close(compiled(x), Pairs()(x))
    with pytest.raises(InputError, match=r"x: expected 2\*s\d+ \(axis 1\), got 7"):
        compiled(torch.randn(3, 7))
    with pytest.raises(InputError, match=r"expected s\d+ .* of \d to 20, got 21"):
        compiled(torch.randn(3, 42))
