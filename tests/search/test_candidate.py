"""Candidates: a plan is what the gates leave, structures are recognised, choices survive Optuna."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instant import make_evaluator
from tiny_task import TinyTask

from l0compile.errors import GateError
from l0compile.gates import named_gates
from l0compile.oneshot.masks import cost_density, live_mask, structure
from l0compile.oneshot.plan import Plan
from l0compile.search import Choices, Space
from l0compile.search.candidate import hardened, layers_of, unique
from l0compile.search.evaluate import Evaluator

LAYERS = ("query", "key", "value", "out", "up", "down")


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("candidate"))


def whole(heads: float = 1.0, neurons: float = 1.0) -> Choices:
    return Choices(density={"heads": heads, "neurons": neurons})


def plan_of(evaluator: Evaluator, share: float) -> Plan:
    return evaluator.plan(Choices(), share * evaluator.menu.dense_ms)


def dense_plan(evaluator: Evaluator) -> Plan:
    """Outside of the ranges of the space: nothing is closed."""
    first = next(iter(evaluator.menu.layers.values()))[0]
    level = dataclasses.replace(first, block=None, number=0, density=1.0, loss=0.0)
    return Plan(dict.fromkeys(evaluator.menu.layers, level))


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
    plan, origin = plan_of(evaluator, share), evaluator.task.dense()
    model = evaluator.realised(whole(), plan)
    assert {level.block for level in plan.layers.values()} <= {(4, 1), (4, 4)}
    for name, level in plan.layers.items():
        assert level.block is not None
        rows, cols = level.block
        live = evaluator.menu.paths[name][level.block].live(level.number)
        mask = live_mask(model.get_submodule(name))
        assert torch.equal(mask, live.repeat_interleave(rows, 0).repeat_interleave(cols, 1))
        assert float(mask.float().mean()) == pytest.approx(level.density)
        with torch.no_grad():
            assert torch.equal(model.get_submodule(name).weight, origin.get_submodule(name).weight * mask)


def test_layers_of_a_dense_level_have_no_gate(evaluator: Evaluator) -> None:
    model = evaluator.realised(whole(), dense_plan(evaluator))
    assert sorted(named_gates(model)) == ["down.l0_neuron", "out.l0_head"]
    ids = evaluator.task.example()[0]
    with torch.no_grad():
        assert torch.allclose(model(ids), evaluator.task.dense()(ids), atol=1e-6)


def test_closed_heads_and_neurons_are_whole_and_save_their_producers(
    evaluator: Evaluator, space: Space
) -> None:
    plan = plan_of(evaluator, 0.9)
    model, full = evaluator.realised(whole(0.5, 0.75), plan), evaluator.realised(whole(), plan)
    heads = named_gates(model)["out.l0_head"].z
    assert int(heads.sum()) == 1
    mask = live_mask(model.out).view(32, 2, 16)
    assert not mask[:, heads == 0].any() and mask[:, heads == 1].any()
    assert int(live_mask(model.down).any(0).sum()) <= 48 < int(live_mask(full.down).any(0).sum())
    assert cost_density(model, space.feeds) < cost_density(model, {}) < cost_density(full, {})


def test_structure_is_that_of_the_live_weights_only(evaluator: Evaluator) -> None:
    def of(plan: Plan, choices: Choices | None = None) -> str:
        return structure(evaluator.realised(choices or whole(), plan))

    plan = plan_of(evaluator, 0.5)
    other = evaluator.plan(Choices(weight={"blocks": 3.0}), 0.5 * evaluator.menu.dense_ms)
    # A factor for all layers changes nothing.
    assert of(plan) == of(plan) == of(other)
    assert (
        len({of(plan), of(plan_of(evaluator, 0.6)), of(plan, whole(heads=0.5)), of(plan, whole(neurons=0.9))})
        == 4
    )


def test_a_model_without_gates_is_hardened_already(task: TinyTask) -> None:
    model = task.dense()
    assert hardened(model) is model


NUMBERS = st.dictionaries(
    st.text("abc.", min_size=1), st.integers(-100, 100).map(lambda n: n / 100), max_size=3
)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_choices_go_through_parameters(
    weight: dict[str, float], tilt: dict[str, float], density: dict[str, float]
) -> None:
    made = Choices(weight, tilt, density)
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
        plan = evaluator.plan(Choices(tilt={"blocks": tilt}), 0.5 * evaluator.menu.dense_ms)
        return plan.layers["query"].ms, plan.layers["down"].ms

    (first, last), (first_down, last_up) = kept(-6.0), kept(6.0)
    assert first > first_down and last < last_up
