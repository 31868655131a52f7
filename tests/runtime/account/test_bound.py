"""The account adds up, and the bound is Amdahl's law on what was measured."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.ir.records import Format, Region
from l0compile.runtime.account import FunctionTime, Profile, account


def test_what_a_region_took_before_is_predicted_from_its_fate(
    regions: tuple[Region, ...], profile: Profile
) -> None:
    found = account(regions, profile, None)
    before = {item.name: item.before_ms for item in found.regions}
    # Halved shape, half the heads, a recorded 0.25, unchanged; dropped: the median time an element of linear layers.
    per_element = 2.0 / 4096
    assert before == {"query": 2.0, "attention": 1.0, "up": 8.0, "down": 4.0, "pooler": 4096 * per_element}
    after = {item.name: item.after_ms for item in found.regions}
    assert after == {"query": 1.0, "attention": 0.5, "up": 2.0, "down": 4.0, "pooler": 0.0}
    assert found.before == "predicted" and found.dense_ms == 10.0 + 1 + 0.5 + 6 + 2
    assert found.speedup == pytest.approx(1.95)


def test_the_bound_is_that_of_a_model_whose_weights_take_no_time(
    regions: tuple[Region, ...], profile: Profile
) -> None:
    found = account(regions, profile, None)
    weights = 2 + 8 + 4 + 2
    assert found.shrinkable == pytest.approx(weights / 19.5)
    assert found.bound == pytest.approx(19.5 / (19.5 - weights))
    # Half of query and attention, a fifth of up and none of pooler stay.
    assert found.bound_here == pytest.approx(19.5 / (19.5 - 1 - 0.5 - 6.4 - 2))
    assert "82% of the dense time" in found.sentence and "5.57 times" in found.sentence


def test_parts_hold_all_of_the_time(regions: tuple[Region, ...], profile: Profile) -> None:
    found = account(regions, profile, None)
    assert {part.name: part.after_ms for part in found.parts} == {
        "weights": 7.0,
        "attention": 0.5,
        "other kernels": 0.5,
        "ordinary operators": 1.0,
        "islands": 0.75,
        "between kernels": 0.25,
    }
    assert sum(part.share for part in found.parts) == pytest.approx(1.0)
    assert found.ordinary == {"sin": (2, 0.75), "embedding": (1, 0.25)}
    assert list(found.ordinary) == ["sin", "embedding"]
    assert found.islands == (("island_0", "model.py:7", 0.75),)


def test_a_measured_dense_model_takes_the_place_of_the_prediction(
    regions: tuple[Region, ...], profile: Profile
) -> None:
    dense = Profile({}, 1, 20.0, tuple(replace(f, ms=2 * f.ms) for f in profile.functions))
    found = account(regions, profile, dense)
    assert found.before == "measured" and found.dense_ms == 20.0 and found.speedup == 2.0
    assert {item.name: item.before_ms for item in found.regions}["up"] == 4.0
    assert {part.name: part.before_ms for part in found.parts}["islands"] == 1.5


def test_a_region_that_ordinary_operators_compute_has_no_time_of_its_own(profile: Profile) -> None:
    (item,) = account([Region("conv", "conv", (8, 8), (8, 8), 1.0, "dense", None, "")], profile, None).regions
    assert (item.before_ms, item.after_ms, item.share, item.kernels) == (None, None, None, ())


shapes = st.tuples(st.integers(1, 64), st.integers(1, 64))


@st.composite
def fates(draw: st.DrawFn) -> tuple[Region, FunctionTime | None]:
    name, before = draw(st.text("abc", min_size=1, max_size=6)), draw(shapes)
    form: Format = draw(st.sampled_from(["dense", "compact", "bsr", "dropped"]))
    after = (0, 0) if form == "dropped" else (draw(st.integers(1, before[0])), before[1])
    kind = draw(st.sampled_from(["linear", "attention"]))
    density = draw(st.just(0.0) | st.floats(1e-9, 1))
    predicted = draw(st.none() | st.floats(0.01, 2))
    region = Region(name, kind, before, after, density, form, None, "", predicted)
    if form == "dropped" or draw(st.booleans()):
        return region, None
    return region, FunctionTime(f"linear_{name}", "kernel", name, name, draw(st.floats(0.001, 10)))


@given(st.lists(fates(), max_size=6, unique_by=lambda pair: pair[0].name), st.floats(0, 5))
def test_any_account_is_consistent(made: list[tuple[Region, FunctionTime | None]], rest: float) -> None:
    functions = tuple(time for _, time in made if time is not None)
    total = sum(item.ms for item in functions) + rest + 0.001
    found = account([region for region, _ in made], Profile({}, 1, total, functions), None)
    assert 0 <= found.shrinkable <= 1 + 1e-9 and found.bound >= 1 and found.bound_here >= 1 - 1e-9
    assert sum(part.after_ms for part in found.parts) == pytest.approx(total)
    assert sum(part.before_ms for part in found.parts) == pytest.approx(found.dense_ms)
    assert [item.name for item in found.regions] == [region.name for region, _ in made]
    assert found.sentence
