"""One-shot candidates: evaluated once a structure, with real weights and qualities."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from instant import make_evaluator, make_fitter

from l0compile.errors import InfeasibleError
from l0compile.gates import named_gates
from l0compile.quantization import QuantizedLinear
from l0compile.studies.constraints.size import Sizes
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.masks import linear_layers, live_mask, open_gates, structure
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.studies.study.trial import Outcome


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("evaluate"))


def price(evaluator: Evaluator, share: float) -> float:
    return share * evaluator.menu.dense_ms


@pytest.mark.parametrize("share", [0.4, 0.8])
def test_an_outcome_tells_what_was_made(evaluator: Evaluator, share: float) -> None:
    choices, ms = Choices(), price(evaluator, share)
    found, plan = evaluator.evaluate(choices, ms), evaluator.allocate(choices, ms)
    model = evaluator.realised(plan)
    assert (found.structure, found.price_ms, found.loss) == (structure(model), plan.ms, plan.loss)
    assert found.layers == plan.to_json() and 0.9 * ms < found.price_ms <= ms * (1 + 1e-9)
    layers = [name for name in plan.layers if name not in evaluator.menu.units]
    masks = {name: live_mask(linear_layers(model, [name])[name]) for name in layers}
    neurons = named_gates(model).get("down.l0_neuron")
    if neurons is not None:  # what they are made of goes with them
        masks["up"] &= open_gates(neurons).view(-1, 1)
    live = sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())
    assert found.live == pytest.approx(live, abs=1e-6)
    evaluator.solve(model)
    assert found.quality == pytest.approx(evaluator.task.quality(model, "validation"), abs=1e-6)


def test_more_time_is_a_better_model(evaluator: Evaluator) -> None:
    found = [evaluator.evaluate(Choices(), price(evaluator, share)) for share in (0.2, 0.5, 0.9)]
    assert found[0].loss > found[1].loss > found[2].loss
    assert found[0].quality < found[1].quality < found[2].quality and found[2].quality > 0.95


def test_solving_is_better_than_masks_alone(evaluator: Evaluator) -> None:
    model = evaluator.realised(evaluator.allocate(Choices(), price(evaluator, 0.4)))
    before = evaluator.task.quality(model, "validation")
    evaluator.solve(model)
    assert evaluator.task.quality(model, "validation") > before + 0.02


def test_tokens_weigh_what_they_do_to_the_output(evaluator: Evaluator) -> None:
    plan = evaluator.allocate(Choices(), price(evaluator, 0.4))
    found = []
    for tokens in (evaluator.tokens, {}):
        model = evaluator.realised(plan)
        dataclasses.replace(evaluator, tokens=tokens).solve(model)
        found.append(model.get_submodule("up").weight.detach())
    assert not torch.allclose(*found, atol=1e-3)


def test_a_structure_is_evaluated_once(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    ms = price(evaluator, 0.5)
    first = evaluator.evaluate(Choices(), ms)

    def fail(*_: object) -> float:
        raise AssertionError("evaluated again")

    monkeypatch.setattr(evaluator.task, "quality", fail)
    assert evaluator.evaluate(Choices(dict.fromkeys(("heads", "neurons", "blocks"), 2.0)), ms) is first
    with pytest.raises(AssertionError, match="evaluated again"):
        evaluator.evaluate(Choices(tilt={"blocks": 3.0}), ms)


def test_what_no_plan_takes_is_an_error(evaluator: Evaluator) -> None:
    with pytest.raises(InfeasibleError, match="no choice of blocks takes"):
        evaluator.evaluate(Choices(), price(evaluator, 0.01))


def test_a_model_is_no_larger_than_it_may_be(space: Space, tmp_path: Path, evaluator: Evaluator) -> None:
    ms = price(evaluator, 0.8)
    free = evaluator.allocate(Choices(), ms)
    layers = tuple(name for name in evaluator.menu.layers if name not in evaluator.menu.units)
    limit = Sizes.of(evaluator.origin, layers).bytes_of(free) / 1e6 - 0.005
    small = make_evaluator(dataclasses.replace(space, limits={"artifact_mb": limit}), tmp_path)
    (size,) = small.bounds
    found = small.allocate(Choices(), ms)
    assert found.ms < free.ms and limit - 0.0015 < size.amount(found) <= limit
    fitter = make_fitter(small, tmp_path, 0.8)
    fitted = fitter.fit(Choices(), fitter.budget.ms)
    # Less than the time that is there, and no round spent on plans that are the same.
    assert size.amount(fitted.allocation) <= limit and len(fitter.timed) <= 2
    none = make_evaluator(dataclasses.replace(space, limits={"artifact_mb": 0.01}), tmp_path)
    with pytest.raises(InfeasibleError, match=r"limits\.artifact_mb: expected more than 2\.0"):
        none.allocate(Choices(), ms)


def test_outcomes_go_through_json(evaluator: Evaluator) -> None:
    found = evaluator.evaluate(Choices(), price(evaluator, 0.5))
    attrs = json.loads(json.dumps(found.to_attrs()))
    assert Outcome.from_attrs({**attrs, "error": "another key"}) == found
    del attrs["quality"]
    assert Outcome.from_attrs(attrs) is None


def test_paths_serve_another_budget_and_another_run(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_evaluator(space, tmp_path)
    files = sorted((tmp_path / "candidates").iterdir())
    # 4x1 has a kernel that is quick enough everywhere for 4x4 to be of no use, or both are there.
    assert len(files) == sum(len(shapes) for shapes in first.menu.paths.values()) >= 6
    monkeypatch.setattr("l0compile.studies.pruning.pruners.prune", None)
    latency = dataclasses.replace(space.latency, ms=3.0)
    again = make_evaluator(dataclasses.replace(space, latency=latency), tmp_path)
    assert again.menu.layers == first.menu.layers
    layers = {name: shapes for name, shapes in again.menu.paths.items() if name not in again.menu.units}
    assert {shape for shapes in layers.values() for shape in shapes} <= {(4, 1), (4, 4)}
    for name, by_shape in again.menu.paths.items():
        assert all(torch.equal(path.gone, first.menu.paths[name][s].gone) for s, path in by_shape.items())


@pytest.fixture(scope="module")
def narrow(narrow_space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(narrow_space, tmp_path_factory.mktemp("narrow"))


def test_candidates_are_judged_with_their_rounding(narrow: Evaluator) -> None:
    plan = narrow.allocate(Choices(), 0.2 * narrow.menu.float_ms)
    assert "int8" in plan.precisions.values()
    model = narrow.realised(plan)
    narrow.solve(model, narrow.calibration)
    rounded = narrow.rounded(model, plan)
    kinds = {name: type(rounded.get_submodule(name)) for name in plan.layers}
    assert {n for n, kind in kinds.items() if kind is QuantizedLinear} == {
        n for n, precision in plan.precisions.items() if precision == "int8"
    }
    for name, kind in kinds.items():
        if kind is QuantizedLinear:
            closed = ~live_mask(linear_layers(model, [name])[name])
            assert bool((rounded.get_submodule(name).rounded[closed] == 0).all())
    found = narrow.evaluate(Choices(), 0.2 * narrow.menu.float_ms)
    assert found.quality == pytest.approx(narrow.task.quality(rounded, "validation"), abs=1e-6)
    assert found.quality != narrow.task.quality(model, "validation")


def test_the_same_zeros_in_another_precision_are_another_candidate(narrow: Evaluator) -> None:
    plan = narrow.allocate(Choices(), 0.2 * narrow.menu.float_ms)
    wide = Allocation({n: dataclasses.replace(v, precision="float32") for n, v in plan.layers.items()})
    model = narrow.realised(plan)
    assert narrow.key(model, wide) == structure(model) != narrow.key(model, plan)


def test_nothing_is_rounded_where_the_space_does_not_say_so(evaluator: Evaluator) -> None:
    plan = evaluator.allocate(Choices(), price(evaluator, 0.5))
    model = evaluator.realised(plan)
    assert evaluator.rounded(model, plan) is model and not plan.precisions
