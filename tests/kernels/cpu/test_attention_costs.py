"""What attention is expected to cost: as many scores as a block of queries walks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.hardware.costs import KernelWorkload, Machine
from l0compile.kernels.cpu.attention.definition import ATTENTION

MACHINE = Machine(2, 64, 16, 1 << 20)
NO_LIMIT = 1 << 30


def scores(queries: int, keys: int, *window: int, variant: str) -> float:
    work = KernelWorkload(
        "attention", (12, 12, 64, 64, queries, keys, *window), tokens=queries, variant=variant
    )
    return ATTENTION.costs.counts(work, MACHINE)["attention: score"]


@given(st.integers(1, 40), st.integers(-50, 300), st.integers(-50, 300))
def test_scores_of_a_window_are_those_of_its_blocks(blocks: int, before: int, after: int) -> None:
    queries = 16 * blocks
    walked = 0
    for first in range(0, queries, 16):
        low, high = max(first - before, 0), min(first + 15 + after + 1, queries)
        walked += 16 * max(high - low, 0)
    found = scores(queries, queries, before, after, variant="window")
    assert found == pytest.approx(12 * walked / 2)


@pytest.mark.parametrize(("tokens", "limit"), [(4096, 0.07), (512, 0.45)])
def test_a_short_window_costs_a_share(tokens: int, limit: float) -> None:
    dense = scores(tokens, tokens, variant="")
    assert scores(tokens, tokens, 255, 0, variant="window") < limit * dense
    assert scores(tokens, tokens, NO_LIMIT, 0, variant="window") == scores(tokens, tokens, variant="causal")


def test_the_kernel_of_a_workload_has_its_window(tile) -> None:  # type: ignore[no-untyped-def]
    work = KernelWorkload("attention", (2, 2, 8, 8, 40, 40, NO_LIMIT, 7), tokens=40, variant="window+mask")
    spec = ATTENTION.costs.spec(work, tile)
    assert (spec.before, spec.after) == (None, 7) and spec.mask is not None  # type: ignore[union-attr]
    assert (
        ATTENTION.costs.spec(KernelWorkload("attention", (2, 2, 8, 8, 40, 40), variant="window"), tile)
        is None
    )
