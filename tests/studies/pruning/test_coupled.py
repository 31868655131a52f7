"""What closing heads saves in the layers around them, against masks written out; and the plans that follow."""

import functools
import itertools
from collections.abc import Mapping

import pytest
import torch
from direct import blocks_to_weights, least_loss, random_layer
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from l0compile.gates import Head, Neuron
from l0compile.hardware.targets import load_target
from l0compile.studies.pruning.allocation import Allocation, Menu
from l0compile.studies.pruning.coupled import Around, Coupled, couple
from l0compile.studies.pruning.curvature import Curvature
from l0compile.studies.pruning.level import Level, Shape
from l0compile.studies.pruning.prices import LinearCall, Prices
from l0compile.studies.pruning.prune import PruningPath, prune
from l0compile.studies.pruning.units import UnitGroup

HEADS, WIDTH, INPUTS = 4, 16, 12
PRICES = Prices(load_target("x86-64-avx2"), None)
SHAPES = {"query": (WIDTH, INPUTS), "key": (WIDTH // 2, INPUTS), "out": (INPUTS, WIDTH), "odd": (6, INPUTS)}
SITES = {name: LinearCall(shape, 10) for name, shape in SHAPES.items()}
PART = UnitGroup("out", Head(HEADS), 0.003, ("query", "key", "odd"))
BLOCKS = ((2, 1), (4, 2), (8, 8))


@functools.cache
def layer(name: str) -> tuple[Tensor, Curvature]:
    return random_layer(*SHAPES[name], list(SHAPES).index(name))


@functools.cache
def paths() -> Mapping[str, Mapping[Shape, PruningPath]]:
    found = {name: {block: prune(*layer(name), block) for block in BLOCKS} for name in SHAPES}
    return {**found, PART.name: {(INPUTS, WIDTH // HEADS): prune(*layer("out"), (INPUTS, WIDTH // HEADS))}}


@functools.cache
def menu() -> Menu:
    return Menu.of(paths(), SITES, PRICES, units={PART.name: PART})


def coupled() -> Coupled:
    (found,) = menu().coupled
    return found


def left(level: Level) -> Tensor:
    """Bool [heads]: those that are left at a level of the part."""
    if level.block is None:
        return torch.ones(HEADS, dtype=torch.bool)
    return paths()[PART.name][level.block].live(level.number)[0]


def alive(name: str, heads: Tensor) -> Tensor:
    """Bool, the shape of the weight: what belongs to a head that is left."""
    if name == "out":
        return heads.repeat_interleave(WIDTH // HEADS)[None].expand(SHAPES[name])
    rows = SHAPES[name][0]
    kept = heads if rows == WIDTH else heads.view(2, 2).any(1)
    return kept.repeat_interleave(rows // len(kept))[:, None].expand(SHAPES[name])


CASES = st.tuples(st.sampled_from(["query", "key", "out"]), st.integers(0, 40), st.integers(0, 100))


@given(CASES)
def test_levels_are_what_masks_leave(case: tuple[str, int, int]) -> None:
    name, of, number = case
    parts = menu().layers[PART.name]
    place = of % len(parts)
    heads, levels = left(parts[place]), coupled().levels[name][place]
    alone = menu().layers[name]
    assert [(level.block, level.number) for level in levels] == [(one.block, one.number) for one in alone]
    index = number % len(alone)
    level, whole = levels[index], alone[index]
    kept = alive(name, heads)
    share = float(kept.float().mean())
    if level.block is None:
        assert (level.loss, level.ms) == (0.0, pytest.approx(share * whole.ms))
    elif level.block == (8, 8):
        assert level == whole  # it lies in two heads
    else:
        mask = blocks_to_weights(paths()[name][level.block].live(level.number), level.block, kept.shape)
        density = float(mask[kept].float().mean()) if kept.any() else 0.0
        assert level.ms == pytest.approx(share * PRICES.ms(SITES[name], level.block, density), rel=1e-5)
        assert 0.0 <= level.loss <= whole.loss * (1 + 1e-6)
        if heads.all():
            assert (level.loss, level.ms) == pytest.approx((whole.loss, whole.ms), rel=1e-5)


@given(st.sampled_from(["query", "key"]), st.integers(0, 40), st.integers(1, 10))
def test_the_loss_of_rows_is_that_of_the_heads_left(name: str, of: int, round_: int) -> None:
    parts = menu().layers[PART.name]
    place, number = of % len(parts), 2 * round_ - 1
    levels = coupled().levels[name][place]
    level = next(level for level in levels if (level.block, level.number) == ((2, 1), number))
    weight, curvature = layer(name)
    rows = alive(name, left(parts[place]))[:, 0]
    mask = blocks_to_weights(paths()[name][2, 1].live(number), (2, 1), weight.shape)
    some = Curvature(curvature.gram, curvature.sensitivity * rows)
    scale = least_loss(weight, curvature, torch.zeros_like(mask))
    assert level.loss == pytest.approx(least_loss(weight, some, mask), abs=2e-3 * scale)


def test_a_layer_without_a_whole_share_of_a_head_stays_as_it_is() -> None:
    assert all(levels == menu().layers["odd"] for levels in coupled().levels["odd"])


@pytest.mark.parametrize("share", [0.0, 0.03, 0.1, 0.3, 0.6, 0.95])
def test_a_plan_is_the_best_of_all_cases(share: float) -> None:
    small = smaller()
    budget = small.least_ms + share * (small.dense_ms - small.least_ms)
    plan = small.allocate(budget)
    assert plan.ms <= budget * (1 + 1e-9)
    best = min(every.loss for every in plans() if every.ms <= budget * (1 + 1e-9))
    assert plan.loss * (1 - plan.gap) <= best * (1 + 1e-9) and best <= plan.loss * (1 + 1e-9)


@functools.cache
def smaller() -> Menu:
    """With few enough levels to try all plans."""
    full = menu()
    names = {
        name: [place for place, level in enumerate(levels) if place % 9 in (0, 7)]
        for name, levels in full.layers.items()
    }
    layers = {name: tuple(full.layers[name][place] for place in kept) for name, kept in names.items()}
    (one,) = full.coupled
    cases = names[one.units]
    levels = {
        name: tuple(
            given[case] if name == one.units else tuple(given[case][place] for place in names[name])
            for case in cases
        )
        for name, given in one.levels.items()
    }
    return Menu(layers, full.paths, full.units, (Coupled(one.units, levels),))


@functools.cache
def plans() -> list[Allocation]:
    given, found = smaller(), []
    for places in itertools.product(*(range(len(levels)) for levels in given.layers.values())):
        numbers = {
            name: (levels[place].block, levels[place].number)
            for (name, levels), place in zip(given.layers.items(), places, strict=True)
        }
        plan = given.restored(numbers)
        assert plan is not None
        found.append(plan)
    return found


def test_plans_are_restored_from_their_numbers() -> None:
    for share in (0.05, 0.3, 0.7):
        plan = menu().allocate(share * menu().dense_ms)
        numbers = {name: (level.block, level.number) for name, level in plan.layers.items()}
        again = menu().restored(numbers)
        assert again is not None and dict(again.layers) == dict(plan.layers)
        assert menu().restored({**numbers, "out": ((3, 3), 1)}) is None
        assert menu().restored({name: numbers[name] for name in list(numbers)[1:]}) is None


def test_closed_heads_make_room_for_blocks() -> None:
    free = Menu(menu().layers, menu().paths, menu().units)  # as if nothing went with the heads
    shares = [share / 20 for share in range(1, 20)]
    pairs = [
        (free.allocate(share * free.dense_ms).loss, menu().allocate(share * free.dense_ms).loss)
        for share in shares
    ]
    assert all(loss <= before * (1 + 1e-6) for before, loss in pairs)
    assert sum(loss < 0.98 * before for before, loss in pairs) >= 3
    assert menu().least_ms <= free.least_ms and menu().dense_ms == free.dense_ms


def test_a_layer_goes_with_what_it_reads() -> None:
    # fc2 reads the neurons of fc1 and makes those that fc3 reads.
    shapes = {"fc1": (8, 4), "fc2": (8, 8), "fc3": (4, 8)}
    layers = {name: random_layer(*shape, seed) for seed, (name, shape) in enumerate(shapes.items())}
    units = {
        group.name: group
        for group in (UnitGroup("fc2", Neuron(), 0.0, ("fc1",)), UnitGroup("fc3", Neuron(), 0.0, ("fc2",)))
    }
    found = {name: {(1, 1): prune(*given, (1, 1))} for name, given in layers.items()}
    found |= {
        name: {(shapes[group.layer][0], 1): prune(*layers[group.layer], (shapes[group.layer][0], 1))}
        for name, group in units.items()
    }
    calls = {name: LinearCall(shape, 10) for name, shape in shapes.items()}
    made = Menu.of(found, calls, PRICES, units=units)
    assert [tuple(one.levels) for one in made.coupled] == [
        ("fc2 (neurons)", "fc1", "fc2"),
        ("fc3 (neurons)", "fc3"),
    ]


def test_nothing_left_takes_nothing() -> None:
    part = PruningPath((INPUTS, 4), (0.0,), torch.zeros(1, 1), torch.zeros(1, HEADS, dtype=torch.uint8))
    around = Around(paths()["query"], menu().layers["query"], False, WIDTH, lambda shape, density: density)
    levels = (Level(None, 0, 1.0, 0.0, 1.0), Level(part.block, 0, 0.0, 1.0, 0.0))
    found = couple("heads", part, (0.0,), levels, {"query": around})
    whole, none = found.levels["query"]
    assert {level.ms for level in none if level.block != (8, 8)} == {0.0}
    assert {level.loss for level in none if level.block != (8, 8)} == {0.0}
    assert [level.block for level in whole] == [level.block for level in none] and found.cases == 2


def test_units_as_json() -> None:
    assert UnitGroup.from_json(PART.to_json()) == PART
