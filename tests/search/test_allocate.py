"""From measured latencies to densities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.search import Space
from l0compile.search.allocate import LatencyModel, first_guesses, towards


@given(st.floats(0.1, 5.0), st.floats(0.1, 20.0), st.lists(st.floats(0.05, 0.9), min_size=1, max_size=5))
def test_a_straight_line_is_recovered_and_inverted(fixed: float, slope: float, lives: list[float]) -> None:
    model = LatencyModel.fit(fixed + slope, [(live, fixed + slope * live) for live in lives])
    assert model.live_for(fixed + 0.4 * slope) == pytest.approx(0.4, abs=1e-3)
    assert model.live_for(fixed + 2 * slope) == 1.0
    assert model.live_for(0.0) == 0.01


def test_without_usable_points_a_prior_is_used() -> None:
    assert LatencyModel.fit(10.0, []) == LatencyModel(2.0, 8.0)
    # Slower with fewer weights: noise, which must not send the search the wrong way.
    assert LatencyModel.fit(10.0, [(0.5, 12.0)]) == LatencyModel(2.0, 8.0)


def test_first_guesses_cover_each_shape_inside_the_ranges(space: Space) -> None:
    guesses = first_guesses(space, {"blocks": ((4, 1), (4, 4))}, 0.6)
    assert [guess.shape["blocks"] for guess in guesses] == [(4, 1), (4, 4)]
    assert all(guess.density == {"heads": 1.0, "neurons": 1.0, "blocks": 0.6} for guess in guesses)
    assert first_guesses(space, {"blocks": ((4, 1),)}, 0.05)[0].density["blocks"] == 0.2
    moved = towards(space, guesses[0], live_now=0.6, live_wanted=0.3)
    assert moved.density["blocks"] == 0.3
