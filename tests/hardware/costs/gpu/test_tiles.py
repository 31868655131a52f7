"""Dealing tiles out: never below the mean or the longest, and waves where all are equal."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.hardware.costs.gpu.tiles import expected_lengths, makespan, splits


@given(st.lists(st.floats(0.1, 9.0), min_size=1, max_size=40), st.integers(1, 30), st.integers(1, 200))
def test_the_busiest_has_at_least_the_mean_and_the_longest_tile(
    tiles: list[float], copies: int, multiprocessors: int
) -> None:
    found, mean = makespan(tiles, copies, multiprocessors), copies * sum(tiles) / multiprocessors
    assert found >= max(mean, max(tiles)) - 1e-9 or copies * len(tiles) > 4 * multiprocessors
    assert mean - 1e-9 <= found <= mean + max(tiles) + 1e-9


@given(st.integers(1, 400), st.integers(1, 132))
def test_equal_tiles_come_in_waves(tiles: int, multiprocessors: int) -> None:
    if tiles <= 4 * multiprocessors:
        assert makespan([2.0], tiles, multiprocessors) == pytest.approx(2.0 * ceil(tiles / multiprocessors))


def test_one_long_row_is_the_imbalance() -> None:
    even, uneven = makespan([4.0] * 32, 1, 16), makespan([1.0] * 31 + [97.0], 1, 16)
    assert (even, uneven) == (8.0, 97.0)


@given(st.integers(1, 96), st.integers(1, 96), st.floats(0.02, 1.0))
def test_lengths_by_chance_have_the_density(rows: int, columns: int, density: float) -> None:
    found = expected_lengths(rows, columns, density)
    assert len(found) == rows and all(0 <= length <= columns for length in found)
    assert sum(found) / (rows * columns) == pytest.approx(density, rel=0.1)


def test_sums_are_cut_only_where_multiprocessors_are_idle() -> None:
    assert [splits(tiles, 108) for tiles in (200, 108, 54, 20, 1)] == [1, 1, 2, 5, 8]
