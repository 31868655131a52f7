"""Candidates: densities are met, structures are recognised, choices survive Optuna."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_task import TinyTask

from l0compile.errors import GateError
from l0compile.gates import named_gates
from l0compile.search import Choices, Space
from l0compile.search.candidate import gated, gated_layer_names, hardened
from l0compile.search.curvature import Curvature, measure_curvature
from l0compile.search.masks import cost_density, live_mask, live_weights, structure


@pytest.fixture
def curvature(task: TinyTask, space: Space) -> dict[str, Curvature]:
    names = gated_layer_names(task.dense(), space)
    return measure_curvature(task.dense(), names, task.calibration(), task.predict)


def choices(
    heads: float = 1.0, neurons: float = 1.0, blocks: float = 0.5, shape: tuple[int, int] = (4, 1)
) -> Choices:
    return Choices({"heads": heads, "neurons": neurons, "blocks": blocks}, {"blocks": shape})


def test_every_layer_of_every_group_is_found_once(task: TinyTask, space: Space) -> None:
    assert sorted(gated_layer_names(task.dense(), space)) == ["down", "key", "out", "query", "up", "value"]
    stray = dataclasses.replace(space.gates[0], patterns=("outt",))
    with pytest.raises(GateError, match="'outt' matches no module; near matches: out"):
        gated_layer_names(task.dense(), dataclasses.replace(space, gates=(stray,)))


@pytest.mark.parametrize("shape", [(4, 1), (4, 4)])
@pytest.mark.parametrize("blocks", [0.25, 0.5, 1.0])
def test_densities_are_met_before_training(
    task: TinyTask, space: Space, curvature: dict[str, Curvature], shape: tuple[int, int], blocks: float
) -> None:
    model = hardened(gated(task.dense(), space, choices(blocks=blocks, shape=shape), curvature))
    live, total = live_weights(model)
    assert total == 4 * 32 * 32 + 2 * 32 * 64
    assert live / total == pytest.approx(blocks, abs=0.01)
    assert cost_density(model, space.feeds) == pytest.approx(blocks, abs=0.01)
    with torch.no_grad():
        weights = {name: model.get_submodule(name).weight for name in ("up", "query")}
    for name, weight in weights.items():
        assert torch.equal(weight != 0, live_mask(model.get_submodule(name)))


def test_closed_heads_and_neurons_are_whole_and_save_their_producers(
    task: TinyTask, space: Space, curvature: dict[str, Curvature]
) -> None:
    model = hardened(gated(task.dense(), space, choices(heads=0.5, neurons=0.75, blocks=1.0), curvature))
    assert (live_mask(model.out).all(0).view(2, 16).all(1) == named_gates(model)["out.l0_head"].z).all()
    assert int(live_mask(model.down).any(0).sum()) == 48
    without = cost_density(model, {})
    assert cost_density(model, space.feeds) == pytest.approx(without - 0.25 * 32 * 64 / 8192, abs=1e-3)


def test_structure_is_that_of_the_live_weights_only(
    task: TinyTask, space: Space, curvature: dict[str, Curvature]
) -> None:
    def of(wanted: Choices) -> str:
        return structure(hardened(gated(task.dense(), space, wanted, curvature)))

    assert of(choices()) == of(choices()) != of(choices(blocks=0.51))
    # Different choices, the same zeros: nothing is closed.
    assert of(choices(blocks=1.0)) == of(choices(blocks=1.0, shape=(4, 4)))


def test_gates_outside_the_band_are_not_noisy(
    task: TinyTask, space: Space, curvature: dict[str, Curvature]
) -> None:
    model = gated(task.dense(), space, choices(), curvature, band=0.1).train()
    gate = named_gates(model)["up.l0_block"]
    samples = torch.stack([gate.value().detach() for _ in range(20)])
    moving = (samples != samples[0]).any(0).float().mean()
    assert 0.02 < float(moving) < 0.25


DENSITIES = st.dictionaries(
    st.text("abc", min_size=1), st.integers(1, 100).map(lambda n: n / 100), max_size=3
)
SHAPES = st.dictionaries(
    st.text("abc", min_size=1), st.tuples(st.integers(1, 64), st.integers(1, 64)), max_size=3
)


@given(DENSITIES, SHAPES)
def test_choices_go_through_parameters(density: dict[str, float], shape: dict[str, tuple[int, int]]) -> None:
    made = Choices(density, shape)
    assert Choices.from_params({**made.to_params(), "live": 0.3}) == made


def test_scaling_stays_inside_the_ranges(space: Space) -> None:
    start = choices(heads=0.9, blocks=0.5)
    assert start.scaled(space, 1.5) == choices(heads=0.9, blocks=0.75)
    assert start.scaled(space, 9.0).density["blocks"] == 1.0
    assert start.scaled(space, 0.1).density["blocks"] == 0.2
