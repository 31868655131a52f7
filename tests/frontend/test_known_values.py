"""Branches and sizes that follow from constants are decided while tracing; all others are refused by name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from l0compile.errors import CaptureError
from l0compile.frontend.export import capture
from l0compile.ir.program import Program

MASK = torch.tensor([1, 0, 1, 1, 0, 0, 1, 0], dtype=torch.bool)


class Held(nn.Module):
    """x [batch, 8] through ``function(module, h)``, with constants as buffers."""

    def __init__(self, function: Callable[["Held", Tensor], Any], mask: Tensor = MASK) -> None:
        super().__init__()
        self.function, self.linear = function, nn.Linear(8, 8)
        self.register_buffer("mask", mask.clone())
        self.register_buffer("counts", torch.tensor([1, 2, 0, 1, 1, 1, 1, 1]))
        self.register_buffer("few", torch.tensor(3))
        self.plain = torch.tensor([0, 5, 5])

    def forward(self, x: Tensor) -> Any:
        return self.function(self, self.linear(x))


def halves(m: Held, h: Tensor) -> Tensor:
    """A mask that forward() makes, changes through a view, and reads."""
    mask = torch.ones(8)
    mask[torch.where(torch.arange(8) % 2 == 0)[0]] = 0
    mask[2:].mul_(2)
    if mask.sum() != 7:
        raise AssertionError("the mask was not followed")
    return h[:, mask.bool()]


def assigned(m: Held, h: Tensor) -> Tensor:
    y = torch.zeros_like(h)
    y[:, m.mask] = h[:, : int(m.mask.sum())]
    return y


READERS: dict[str, Callable[[Held, Tensor], Any]] = {
    "where": lambda m, h: h[:, torch.where(m.mask)[0]],
    "mask": lambda m, h: h[:, m.mask],
    "mask of another tensor": lambda m, h: h.t()[m.mask & (m.counts > 0)],
    "masked_select": lambda m, h: h + torch.masked_select(m.counts, m.mask).sum(),
    "nonzero": lambda m, h: h.index_select(1, m.mask.nonzero().flatten()),
    "item": lambda m, h: h * 2 if m.mask[1:].any().item() else h,
    "bool": lambda m, h: h * 2 if m.few > 2 else h,
    "int": lambda m, h: h[:, : int(m.few)],
    "index": lambda m, h: h[:, : m.few],
    "tolist": lambda m, h: torch.cat([part.sum(1) for part in h.split(m.counts.tolist(), 1)]),
    "unique": lambda m, h: h[:, : len(torch.unique(m.counts))],
    "repeat": lambda m, h: torch.repeat_interleave(h, m.counts, 1),
    "assigned": assigned,
    "made in forward": halves,
    "a plain attribute": lambda m, h: h[:, m.plain.unique()],
    "a parameter": lambda m, h: h[:, (m.linear.bias > 0).nonzero().flatten()],
    "float": lambda m, h: h * float(m.counts.float().mean()),
    "none": lambda m, h: h[:, : (m.counts > 1).nonzero().shape[0]],
}


def settled(program: Program) -> None:
    for node in program.graph.nodes:
        leaves = torch.utils._pytree.tree_leaves(node.meta.get("val"))
        assert not any(isinstance(leaf, Tensor) and free_unbacked_symbols(leaf) for leaf in leaves), node


@pytest.mark.parametrize("name", READERS)
def test_what_follows_from_constants(name: str) -> None:
    torch.manual_seed(0)
    model = Held(READERS[name]).eval()
    program = capture(model, (torch.randn(2, 8),), dynamic_shapes={0: "batch"})
    settled(program)
    x = torch.randn(5, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.run(x), model(x))
    assert torch.equal(model.mask, MASK)


@settings(max_examples=8)
@given(bits=st.lists(st.booleans(), min_size=8, max_size=8).filter(any), seed=st.integers(0, 99))
def test_any_mask(bits: list[bool], seed: int) -> None:
    torch.manual_seed(seed)
    names = ["where", "mask", "item", "assigned"]
    model = Held(lambda m, h: [READERS[name](m, h) for name in names], torch.tensor(bits)).eval()
    x = torch.randn(2, 8)
    program = capture(model, (x,))
    settled(program)
    with torch.no_grad():
        torch.testing.assert_close(program.run(x), model(x))


def test_what_does_not_follow_stays_open() -> None:
    model = Held(lambda m, h: h[h > 0].sum() + m.mask.nonzero().shape[0]).eval()
    program, x = capture(model, (torch.randn(2, 8),)), torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(program.run(x), model(x))


def test_a_decision_by_an_input_names_it() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            allowed = attention_mask > 0
            return x * 2 if allowed.flatten().any().item() else x

    with pytest.raises(
        CaptureError, match=r"test_known_values.py:\d+: `return x.*item.*input attention_mask"
    ):
        capture(Reads().eval(), (torch.ones(3), torch.ones(3)))


def test_a_mask_changed_by_an_input_is_not_known() -> None:
    def mixed(m: Held, h: Tensor) -> Tensor:
        mask = torch.ones(8)
        view = mask[:4]
        mask[1] = h.mean()
        return h * 2 if view.sum() > 3 else h

    with pytest.raises(CaptureError, match=r"depend on .*input x"):
        capture(Held(mixed).eval(), (torch.randn(2, 8),))


@pytest.mark.parametrize("first", [True, False])
def test_state_decides_nothing(first: bool) -> None:
    """A buffer that forward() changes has another value at the next call."""

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.tensor(3))

        def forward(self, x: Tensor) -> Tensor:
            if first:
                self.calls.add_(1)
            y = x * 2 if self.calls.item() > 3 else x
            if not first:
                self.calls += 1
            return y

    model = Counts().eval()
    with pytest.raises(CaptureError, match="calls"):
        capture(model, (torch.ones(3),))
    assert int(model.calls) == 3


def test_a_mask_changed_by_a_flag_or_an_operator_is_followed() -> None:
    def changed(m: Held, h: Tensor) -> Tensor:
        mask = m.counts.float() - 1
        view = mask[:4]
        nn.functional.relu(mask, inplace=True)
        torch.ops.aten.add_.Tensor(mask, 1)
        return h * 2 if view.sum() == 5 else h

    model, x = Held(changed).eval(), torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(capture(model, (x,)).run(x), 2 * model.linear(x))


def test_a_random_mask_is_not_known() -> None:
    with pytest.raises(CaptureError):
        capture(Held(lambda m, h: h * 2 if torch.rand(3).sum() > 1 else h).eval(), (torch.randn(2, 8),))


def test_nothing_is_printed_on_the_way(capfd: pytest.CaptureFixture[str]) -> None:
    capture(Held(READERS["tolist"]).eval(), (torch.randn(2, 8),))
    assert capfd.readouterr().err == ""
