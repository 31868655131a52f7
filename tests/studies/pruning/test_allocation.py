"""Menus and plans: what fits, what counts, what is worth pruning."""

import dataclasses
import functools

import numpy as np
import pytest
from direct import random_layer
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.errors import ConfigError
from l0compile.hardware.targets import Target, load_target
from l0compile.studies.pruning.allocation import Menu, worth_pruning
from l0compile.studies.pruning.level import Numbers, Shape
from l0compile.studies.pruning.prices import LinearCall, Prices
from l0compile.studies.pruning.prune import PruningPath, prune

AVX2 = load_target("x86-64-avx2")
PRICES = Prices(AVX2, None)
SHAPES = {"up": (24, 12), "down": (12, 24), "out": (16, 16)}
SITES = {name: LinearCall(shape, 10) for name, shape in SHAPES.items()}


@functools.cache
def paths() -> dict[str, dict[Shape, PruningPath]]:
    """Of three small layers, each in two block shapes."""
    return {
        name: {block: prune(*random_layer(*shape, seed), block) for block in ((4, 1), (4, 4))}
        for seed, (name, shape) in enumerate(SHAPES.items())
    }


@functools.cache
def menu(*ranges: tuple[str, float, float]) -> Menu:
    return Menu.of(paths(), SITES, PRICES, {name: (low, high) for name, low, high in ranges})


@functools.cache
def choices() -> tuple[np.ndarray, np.ndarray]:
    """Times and losses of every choice that the menu offers."""
    ms, loss = (
        [np.array([getattr(level, key) for level in levels]) for levels in menu().layers.values()]
        for key in ("ms", "loss")
    )
    return functools.reduce(np.add.outer, ms), functools.reduce(np.add.outer, loss)


def test_a_menu_has_every_level_of_every_shape() -> None:
    for name, levels in menu().layers.items():
        dense, *others = levels
        assert (dense.block, dense.density, dense.loss) == (None, 1.0, 0.0)
        assert dense.ms == PRICES.ms(SITES[name], None, 1.0)
        assert len(others) == sum(len(path.densities) for path in paths()[name].values())
        for level in others:
            assert level.block is not None
            path = paths()[name][level.block]
            assert (level.density, level.loss) == (path.densities[level.number], path.losses[level.number])
            assert level.ms == PRICES.ms(SITES[name], level.block, level.density)


@settings(max_examples=30)
@given(st.floats(0.0, 1.2))
def test_a_plan_takes_what_it_may_and_is_the_best_of_those(share: float) -> None:
    budget = share * menu().dense_ms
    plan = menu().allocate(budget)
    assert plan.ms <= budget * (1 + 1e-9)
    every_ms, every_loss = choices()
    best = float(every_loss[every_ms <= budget * (1 + 1e-9)].min())
    assert best * (1 - 1e-9) <= plan.loss and plan.loss * (1 - plan.gap) <= best * (1 + 1e-9)
    assert plan.to_json().keys() == SHAPES.keys()


def test_plans_as_json() -> None:
    assert menu().allocate(menu().dense_ms).to_json() == {name: [None, 1.0] for name in SHAPES}
    assert all(
        block in ("4x1", "4x4") and density == 0.0
        for block, density in menu().allocate(0.0).to_json().values()
    )


@pytest.mark.parametrize("name", SHAPES)
def test_a_layer_that_counts_more_keeps_more(name: str) -> None:
    budget = 0.3 * menu().dense_ms
    light, neutral, heavy = (menu().allocate(budget, {name: factor}) for factor in (0.01, 1.0, 100.0))
    assert light.layers[name].loss > neutral.layers[name].loss > heavy.layers[name].loss
    assert light.layers[name].ms < neutral.layers[name].ms < heavy.layers[name].ms
    # Factors are for choosing only: the loss of a plan is that of the model.
    assert neutral.loss < min(light.loss, heavy.loss)


@given(st.sampled_from(list(SHAPES)), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_densities_stay_in_their_range(name: str, first: float, second: float) -> None:
    low, high = sorted((first, second))
    levels, every = menu((name, low, high)).layers[name], menu().layers[name]
    inside = [level for level in every if low <= level.density <= high]
    assert list(levels) == inside or not inside
    if not inside:
        (level,) = levels
        assert level.density == min(other.density for other in every if other.density >= low)
    others = [other for other in SHAPES if other != name]
    assert all(menu((name, low, high)).layers[other] == menu().layers[other] for other in others)


def test_ranges_bound_what_a_model_can_take() -> None:
    bounded = menu(*((name, 0.3, 0.6) for name in SHAPES))
    slowest = bounded.allocate(1e9)
    assert all(0.3 <= level.density <= 0.6 for level in slowest.layers.values())
    assert slowest.ms <= bounded.dense_ms < menu().dense_ms
    with pytest.raises(ConfigError, match="raise the latency budget"):
        bounded.allocate(0.1 * menu().dense_ms)


def target(**efficiency: float) -> Target:
    shapes = {name: tuple(int(part) for part in name[1:].split("x")) for name in efficiency}
    pairs = tuple(((shapes[name][0], shapes[name][1]), value) for name, value in efficiency.items())
    return dataclasses.replace(AVX2, blocks=tuple(shape for shape, _ in pairs), efficiency=pairs)


@pytest.mark.parametrize(
    ("efficiency", "wanted"),
    [
        ({"b4x1": 0.9, "b4x4": 0.9, "b8x8": 0.9}, [(4, 1)]),
        ({"b4x1": 0.6, "b4x4": 0.9, "b8x8": 0.9}, [(4, 1), (4, 4)]),
        ({"b4x1": 0.9, "b4x4": 0.5, "b8x8": 0.7}, [(4, 1)]),
        ({"b4x1": 0.3, "b4x4": 0.5, "b8x8": 0.9}, [(4, 1), (4, 4), (8, 8)]),
        # Within the slack of 2 %, and just beyond it.
        ({"b4x4": 0.9, "b8x8": 0.91}, [(4, 4)]),
        ({"b4x4": 0.9, "b8x8": 0.93}, [(4, 4), (8, 8)]),
        # Neither is made of whole blocks of the other.
        ({"b4x1": 0.9, "b1x4": 0.5}, [(4, 1), (1, 4)]),
        ({"b8x8": 0.1}, [(8, 8)]),
    ],
)
def test_shapes_that_a_finer_one_beats_are_not_pruned(
    efficiency: dict[str, float], wanted: list[tuple[int, int]]
) -> None:
    prices = Prices(target(**efficiency), None)
    assert worth_pruning(SITES["up"], prices.target.blocks, prices) == tuple(wanted)


def test_a_finer_shape_never_loses_more() -> None:
    """Why such shapes are left out: at one density smaller blocks have the smaller loss."""
    weight, curvature = random_layer(32, 32, 5)
    fine, coarse = prune(weight, curvature, (4, 1)), prune(weight, curvature, (8, 8))
    assert all(a < b for a, b in zip(fine.losses[:-1], coarse.losses[:-1], strict=True))


LOSSES: dict[str, dict[Numbers, float]] = {
    "up": {"float32": 0.0, "bfloat16": 1e-5, "int8": 1e-3},
    "down": {"int8": 2e-3},
    "out": {"float32": 0.0},
}


@functools.cache
def narrow_menu() -> Menu:
    return Menu.of(paths(), SITES, PRICES, rounding=LOSSES)


def test_a_level_is_a_block_shape_a_density_and_a_precision() -> None:
    assert narrow_menu().float_ms == menu().dense_ms
    for name, levels in narrow_menu().layers.items():
        assert {level.precision for level in levels} == set(LOSSES[name])
        for level in levels:
            rounding, path = LOSSES[name][level.precision], paths()[name].get(level.block or (0, 0))
            pruning = path.losses[level.number] if path else 0.0
            assert level.loss == pytest.approx(pruning + level.density * rounding)
            assert level.ms == PRICES.ms(SITES[name], level.block, level.density, level.precision)
            # Kernels of integers skip whole words of four columns.
            assert level.block != (4, 1) or level.precision == "float32"


def test_layers_become_narrow_where_time_is_short() -> None:
    whole = narrow_menu().allocate(narrow_menu().float_ms)
    assert whole.precisions == {"down": "int8"} and all(
        level.block is None for level in whole.layers.values()
    )
    assert whole.to_json()["up"] == [None, 1.0] and whole.to_json()["down"] == [None, 1.0, "int8"]
    short = narrow_menu().allocate(0.5 * narrow_menu().float_ms)
    assert short.layers["up"].precision == "int8" and short.loss < menu().allocate(0.5 * menu().dense_ms).loss
    for plan in (whole, short):
        numbers = {name: (level.block, level.number) for name, level in plan.layers.items()}
        again = narrow_menu().restored(numbers, plan.precisions)
        assert again is not None and dict(again.layers) == dict(plan.layers)
        assert narrow_menu().restored(numbers) is None  # there is no such layer in float32
        for name, level in plan.layers.items():
            assert narrow_menu().alone(name, level) == level


def test_shapes_are_worth_pruning_in_one_of_the_precisions() -> None:
    call, shapes = LinearCall((384, 384), 128), ((4, 1), (4, 4), (8, 4))
    assert worth_pruning(call, shapes, PRICES) == ((4, 1),)
    assert worth_pruning(call, shapes, PRICES, precisions=("int8",)) == ((4, 4),)
    assert worth_pruning(call, shapes, PRICES, precisions=("float32", "int8")) == ((4, 1), (4, 4))
