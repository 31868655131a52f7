"""Candidates: a plan is what the gates leave, structures are recognised, choices survive Optuna."""

import copy
import dataclasses
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instant import make_evaluator
from tiny_task import TinyTask

import l0compile as l0
from l0compile.errors import GateError
from l0compile.gates import Head, Neuron, dense_weight, named_gates
from l0compile.hardware.targets import load_target
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.units import units_of
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.level import Level
from l0compile.studies.pruning.masks import cost_density, live_mask, structure
from l0compile.studies.pruning.prices import Prices, linear_calls
from l0compile.studies.pruning.units import UnitGroup
from l0compile.studies.space.candidate import Choices, hardened, layers_of, unique
from l0compile.studies.space.space import Space

LAYERS = ("query", "key", "value", "out", "up", "down")
GATES = {"out (heads)": "out.l0_head", "down (neurons)": "down.l0_neuron"}


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("candidate"))


def plan_of(evaluator: Evaluator, share: float) -> Allocation:
    return evaluator.allocate(Choices(), share * evaluator.menu.dense_ms)


def dense_plan(evaluator: Evaluator) -> Allocation:
    """Outside of the ranges of the space: nothing is closed."""
    return Allocation(dict.fromkeys(evaluator.menu.layers, Level(None, 0, 1.0, 0.0, 1.0)))


def with_level(evaluator: Evaluator, allocation: Allocation, name: str, density: float) -> Allocation:
    """The allocation with another level for one layer or group of units."""
    level = min(evaluator.menu.layers[name], key=lambda level: abs(level.density - density))
    return Allocation({**allocation.layers, name: level})


def test_every_layer_of_every_group_is_found_once(task: TinyTask, space: Space) -> None:
    found = layers_of(task.dense(), space)
    assert found == {"heads": ("out",), "neurons": ("down",), "blocks": LAYERS}
    assert unique(found.values()) == ("out", "down", "query", "key", "value", "up")
    stray = dataclasses.replace(space.gates[0], patterns=("outt",))
    with pytest.raises(GateError, match="'outt' matches no module; near matches: out"):
        layers_of(task.dense(), dataclasses.replace(space, gates=(stray,)))
    twice = dataclasses.replace(space.gates[2], name="again", patterns=("up",))
    with pytest.raises(GateError, match="up"):
        layers_of(task.dense(), dataclasses.replace(space, gates=(*space.gates, twice)))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_plan_is_what_the_gates_leave(evaluator: Evaluator, share: float) -> None:
    plan, origin, parts = plan_of(evaluator, share), evaluator.task.dense(), evaluator.menu.units
    model = evaluator.realised(plan)
    gates = named_gates(model)
    assert {plan.layers[name].block for name in LAYERS} <= {(4, 1), (4, 4)}
    for name, level in plan.layers.items():
        gate = GATES[name] if name in parts else f"{name}.l0_block"
        if level.block is None:
            assert gate not in gates
            continue
        live = evaluator.menu.paths[name][level.block].live(level.number)
        assert torch.equal(gates[gate].z > 0, live.reshape(gates[gate].z.shape))
        assert float(live.float().mean()) == pytest.approx(level.density)
    for name in LAYERS:
        layer = model.get_submodule(name)
        with torch.no_grad():
            assert torch.equal(dense_weight(layer), origin.get_submodule(name).weight)
        blocks = gates[f"{name}.l0_block"]
        rows, cols = blocks.block
        mask = (blocks.z > 0).repeat_interleave(rows, 0).repeat_interleave(cols, 1)
        whole = {"out": "out.l0_head", "down": "down.l0_neuron"}.get(name)
        if whole in gates:
            mask = mask & (gates[whole].z > 0).repeat_interleave(gates[whole].block[0])
        assert torch.equal(live_mask(layer), mask)


def test_layers_of_a_dense_level_have_no_gate(evaluator: Evaluator) -> None:
    model = evaluator.realised(dense_plan(evaluator))
    assert not named_gates(model)
    ids = evaluator.task.example()[0]
    with torch.no_grad():
        assert torch.equal(model(ids), evaluator.task.dense()(ids))


def test_closed_heads_and_neurons_are_whole_and_save_their_producers(
    evaluator: Evaluator, space: Space
) -> None:
    some = with_level(evaluator, plan_of(evaluator, 0.9), "out (heads)", 1.0)
    plan = with_level(evaluator, with_level(evaluator, some, "out (heads)", 0.5), "down (neurons)", 0.75)
    model, full = evaluator.realised(plan), evaluator.realised(some)
    heads = named_gates(model)["out.l0_head"].z
    assert int(heads.sum()) == 1
    mask = live_mask(model.out).view(32, 2, 16)
    assert not mask[:, heads == 0].any() and mask[:, heads == 1].any()
    neurons = named_gates(model)["down.l0_neuron"].z
    assert int(neurons.sum()) == round(plan.layers["down (neurons)"].density * 64) <= 48
    assert cost_density(model, space.feeds) < cost_density(model, {}) < cost_density(full, {})


def test_without_any_of_its_heads_an_attention_layer_is_gone(space: Space, tmp_path: Path) -> None:
    heads = dataclasses.replace(space.gates[0], density=(0.0, 1.0))
    evaluator = make_evaluator(dataclasses.replace(space, gates=(heads, *space.gates[1:])), tmp_path)
    model = evaluator.realised(with_level(evaluator, dense_plan(evaluator), "out (heads)", 0.0))
    example = evaluator.task.example()
    compiled = l0.compile(model, example, engine="tvm")
    with torch.no_grad():
        assert torch.allclose(compiled(*example), model(*example), atol=2e-5)
    formats = {region.name: region.format for region in compiled.explain().regions}
    gone = ("query", "key", "value", "out")
    assert {formats.get(name, "dropped") for name in gone} == {"dropped"} and formats["up"] == "dense"


def test_the_heads_that_go_first_are_those_that_are_missed_least(evaluator: Evaluator) -> None:
    plan = with_level(evaluator, dense_plan(evaluator), "out (heads)", 0.5)
    model = evaluator.realised(plan)
    other = copy.deepcopy(model)
    gate = named_gates(other)["out.l0_head"]
    gate.set_constant(1.0 - gate.z, gate.record)
    evaluator.solve(model)
    evaluator.solve(other)
    ids = next(iter(evaluator.task.calibration()))
    with torch.no_grad():
        wanted = evaluator.task.dense()(ids)
        lost = [float((net(ids) - wanted).square().sum()) for net in (model, other)]
    assert lost[0] < lost[1]


def test_a_part_takes_what_no_block_price_tells(space: Space, task: TinyTask) -> None:
    prices = Prices(load_target("native"), None)

    def parts(space: Space) -> dict[str, UnitGroup]:
        return units_of(task, space, layers_of(task.dense(), space), prices)

    places = linear_calls(task.dense(), LAYERS, task.example())
    dense = {name: prices.ms(place, None, 1.0) for name, place in places.items()}
    attention = prices.attention_ms(places["out"], 2)
    assert places["out"].sequence == 8 and attention > 0
    found = parts(space)
    assert found == {
        "out (heads)": UnitGroup("out", Head(2), attention),
        "down (neurons)": UnitGroup("down", Neuron(), 0.0, ("up",)),
    }
    assert {name: UnitGroup.from_json(part.to_json()) for name, part in found.items()} == found
    # Without gates on blocks of theirs, layers go in proportion with what they read or feed.
    few = dataclasses.replace(space.gates[2], patterns=("key",))
    feeds = {"up": "down", "query": "out", "value": "out"}
    found = parts(dataclasses.replace(space, gates=(*space.gates[:2], few), feeds=feeds))
    assert found["out (heads)"].ms == pytest.approx(
        attention + dense["out"] + dense["query"] + dense["value"]
    )
    assert found["down (neurons)"].ms == pytest.approx(dense["up"] + dense["down"])


def test_structure_is_that_of_the_live_weights_only(evaluator: Evaluator) -> None:
    def of(allocation: Allocation) -> str:
        return structure(evaluator.realised(allocation))

    plan = plan_of(evaluator, 0.5)
    names = ("heads", "neurons", "blocks")
    other = evaluator.allocate(Choices(weight=dict.fromkeys(names, 3.0)), 0.5 * evaluator.menu.dense_ms)
    # A factor for all layers changes nothing.
    assert of(plan) == of(plan) == of(other)
    fewer = with_level(evaluator, plan, "down (neurons)", 0.6)
    assert len({of(plan), of(plan_of(evaluator, 0.6)), of(fewer)}) == 3


def test_a_model_without_gates_is_hardened_already(task: TinyTask) -> None:
    model = task.dense()
    assert hardened(model) is model


NUMBERS = st.dictionaries(
    st.text("abc.", min_size=1), st.integers(-100, 100).map(lambda n: n / 100), max_size=3
)


@given(NUMBERS, NUMBERS)
def test_choices_go_through_parameters(weight: dict[str, float], tilt: dict[str, float]) -> None:
    made = Choices(weight, tilt)
    assert Choices.from_params({**made.to_params(), "live": 0.3}) == made


@given(st.floats(0.1, 4.0), st.floats(-1.5, 1.5), st.integers(1, 9))
def test_factors_rise_from_the_first_to_the_last_layer_by_the_tilt(
    weight: float, tilt: float, count: int
) -> None:
    names = tuple(f"layer{place}" for place in range(count))
    found = Choices({"a": weight}, {"a": tilt}).factors({"a": names, "b": ("other",)})
    assert found["other"] == 1.0 and list(found) == [*names, "other"]
    mean = math.exp(sum(math.log(found[name]) for name in names) / count)
    assert mean == pytest.approx(weight)
    if count > 1:
        assert math.log(found[names[-1]] / found[names[0]]) == pytest.approx(tilt, abs=1e-9)


def test_a_tilt_moves_what_is_kept_to_later_layers(evaluator: Evaluator) -> None:
    def kept(tilt: float) -> tuple[float, float]:
        plan = evaluator.allocate(Choices(tilt={"blocks": tilt}), 0.5 * evaluator.menu.dense_ms)
        return plan.layers["query"].ms, plan.layers["down"].ms

    (first, last), (first_down, last_up) = kept(-6.0), kept(6.0)
    assert first > first_down and last < last_up
