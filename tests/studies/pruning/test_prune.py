"""Paths against regression written out: losses, masks, densities, and what goes first."""

import itertools

import torch
from direct import blocks_to_weights, least_loss, random_layer
from hypothesis import given
from hypothesis import strategies as st

from l0compile.studies.pruning.prune import ROUNDS, prune

BLOCKS = st.sampled_from([(1, 1), (4, 1), (2, 1), (4, 4), (2, 3), (1, 4), (8, 8)])
PLANS = st.sampled_from([ROUNDS, (0.5,), (0.9, 0.4, 0.1)])


@given(st.integers(1, 11), st.integers(1, 13), BLOCKS, PLANS, st.integers(0, 1000))
def test_losses_are_those_of_the_best_weights_for_the_masks(
    out: int, width: int, block: tuple[int, int], rounds: tuple[float, ...], seed: int
) -> None:
    weight, curvature = random_layer(out, width, seed)
    path = prune(weight, curvature, block, rounds)
    energy = least_loss(weight, curvature, torch.zeros(weight.shape, dtype=torch.bool))
    assert path.block == block and len(path.losses) == len(path.densities) == 2 * len(rounds) + 1
    assert (path.densities[-1], path.losses[-1]) == (0.0, _near(energy, path.losses[-1]))
    for level in (*range(1, 2 * len(rounds), 2), 2 * len(rounds)):
        mask = blocks_to_weights(path.live(level), block, weight.shape)
        assert abs(path.losses[level] - least_loss(weight, curvature, mask)) < 2e-3 * energy, level
    assert all(a <= b for a, b in zip((0.0, *path.losses), path.losses, strict=False))


def _near(wanted: float, found: float) -> float:
    """What to compare `found` with, so that rounding in float32 is no difference."""
    return found if abs(found - wanted) < 1e-3 * wanted else wanted


@given(st.integers(1, 40), st.integers(1, 40), BLOCKS, st.integers(0, 1000))
def test_masks_are_nested_and_of_the_wanted_density(
    out: int, width: int, block: tuple[int, int], seed: int
) -> None:
    path = prune(*random_layer(out, width, seed), block)
    first = torch.ones(-(-out // block[0]), -(-width // block[1]), dtype=torch.bool)
    count = first.numel()
    assert path.gone.shape == first.shape
    levels = [first, *(path.live(level) for level in range(2 * len(ROUNDS) + 1))]
    for before, after in itertools.pairwise(levels):
        assert not (after & ~before).any()
    left = [int(live.sum()) for live in levels]
    assert [number / count for number in left[1:]] == list(path.densities) and left[-1] == 0
    assert left[2:-1:2] == [max(1, round(density * count)) for density in ROUNDS]
    for start, between, end in zip(left[0:-2:2], left[1:-2:2], left[2:-1:2], strict=True):
        assert between == start - (start - end) // 2


@given(
    st.sampled_from([((6, 4), (2, 1)), ((5, 7), (2, 3)), ((8, 8), (4, 4)), ((3, 3), (1, 1))]),
    st.integers(0, 500),
)
def test_what_goes_first_costs_least(case: tuple[tuple[int, int], tuple[int, int]], seed: int) -> None:
    (out, width), block = case
    weight, curvature = random_layer(out, width, seed)
    grid = (-(-out // block[0]), -(-width // block[1]))
    count = grid[0] * grid[1]
    path = prune(weight, curvature, block, (1.0 - 1.0 / count,))
    costs = []
    for place in range(count):
        live = torch.ones(grid, dtype=torch.bool)
        live.view(-1)[place] = False
        costs.append(least_loss(weight, curvature, blocks_to_weights(live, block, weight.shape)))
    (first,) = (~path.live(1)).flatten().nonzero().flatten().tolist()
    assert costs[first] <= 1.001 * min(costs)
    assert abs(path.losses[1] - costs[first]) < 1e-3 * path.losses[-1]


@given(
    st.integers(2, 24),
    st.integers(2, 24),
    BLOCKS,
    st.floats(0.1, 0.95),
    st.integers(0, 500),
)
def test_what_is_zero_already_stays_so(
    out: int, width: int, block: tuple[int, int], share: float, seed: int
) -> None:
    dense, curvature = random_layer(out, width, seed)
    grid = (-(-out // block[0]), -(-width // block[1]))
    kept = torch.rand(grid, generator=torch.Generator().manual_seed(seed)) < share
    weight = dense * blocks_to_weights(kept, block, dense.shape)
    path = prune(weight, curvature, block)
    if kept.all():
        assert len(path.densities) == 2 * len(ROUNDS) + 1
        return
    assert path.losses[0] == 0.0
    assert torch.equal(path.live(0), kept)
    energy = least_loss(weight, curvature, torch.zeros(weight.shape, dtype=torch.bool))
    left = [path.live(level) for level in range(len(path.densities))]
    assert [int(live.sum()) / kept.numel() for live in left] == list(path.densities)
    assert not any((after & ~before).any() for before, after in itertools.pairwise(left))
    for level in range(0, len(left), 2):
        mask = blocks_to_weights(left[level], block, weight.shape)
        assert abs(path.losses[level] - least_loss(weight, curvature, mask)) <= 2e-3 * energy, level
    assert path.densities[-1] == 0.0


def test_curvature_beats_magnitude_where_inputs_are_correlated() -> None:
    weight, curvature = random_layer(32, 48, 0, tokens=2000)
    path = prune(weight, curvature, (4, 1))
    size = weight.square().unflatten(0, (-1, 4)).sum(1)
    for level in (5, 9, 15):
        keep = int(path.live(level).sum())
        live = torch.zeros(size.shape, dtype=torch.bool)
        live.view(-1)[size.flatten().argsort(descending=True)[:keep]] = True
        by_size = least_loss(weight, curvature, blocks_to_weights(live, (4, 1), weight.shape))
        assert path.losses[level] < 0.85 * by_size, (level, path.losses[level] / by_size)


def test_a_layer_without_influence_has_a_path_that_costs_nothing() -> None:
    weight, curvature = random_layer(8, 6, 0)
    curvature.gram.zero_()
    curvature.sensitivity.zero_()
    path = prune(weight, curvature, (4, 1))
    assert set(path.losses) == {0.0} and path.densities[-1] == 0.0
