"""Intermediate results share memory only where they do not live at once, and answers stay the model's."""

import threading

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import l0compile as l0
from l0compile.lower.tvm.memory_plan import Lifetime, assign_blocks

PIECES = st.lists(
    st.builds(
        lambda first, length, units: Lifetime(first, first + length, 64 * units),
        st.integers(0, 30),
        st.integers(0, 10),
        st.integers(1, 50),
    ),
    min_size=1,
    max_size=30,
)


@given(PIECES)
def test_pieces_of_one_block_never_meet(pieces: list[Lifetime]) -> None:
    chosen, units = assign_blocks(pieces)
    for number, (piece, block) in enumerate(zip(pieces, chosen, strict=True)):
        assert piece.units <= units[block]
        assert not any(
            piece.meets(other)
            for other, its in zip(pieces[:number], chosen[:number], strict=True)
            if its == block
        )
    live = [
        sum(p.units for p in pieces if p.first <= step <= p.last)
        for step in range(max(p.last for p in pieces) + 1)
    ]
    assert max(live) <= sum(units) <= sum(p.units for p in pieces)


def test_a_chain_needs_two_blocks() -> None:
    chain = [Lifetime(step, step + 1, 64) for step in range(0, 20)]
    assert assign_blocks(chain)[1] == [64, 64]


class Branches(nn.Module):
    """Results that live for long, are returned under two shapes, or are handed through."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        kept = h = torch.tanh(self.layers[0](x))
        for layer in self.layers[1:]:
            h = torch.relu(layer(h)) + kept
        return h, kept.flatten(1), h.sum(-1), x.reshape(-1)


def test_results_outlive_the_next_call_and_other_threads() -> None:
    torch.manual_seed(0)
    model = Branches().eval()
    inputs = [torch.randn(batch, 3, 32) for batch in (2, 1, 5, 70)]
    compiled = l0.compile(model, (inputs[0],), dynamic_shapes={"x": {0: "batch"}}, engine="tvm")
    first = [compiled(x) for x in inputs]
    again: list[list[tuple[torch.Tensor, ...]]] = []
    threads = [threading.Thread(target=lambda: again.append([compiled(x) for x in inputs])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(again) == 4
    with torch.no_grad():
        for number, x in enumerate(inputs):
            for result, wanted in zip(first[number], model(x), strict=True):
                torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-5)
            for results in again:
                assert all(torch.equal(a, b) for a, b in zip(results[number], first[number], strict=True))
