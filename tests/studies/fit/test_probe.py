"""What losses of groups are worth: measured group by group, and what trials begin with."""

from pathlib import Path

import pytest
import torch
from driven import TRIALS, enough, searching
from hypothesis import given
from hypothesis import strategies as st
from instant import make_evaluator, make_fitter
from torch import nn

from l0compile.gates import named_gates
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.fit.probe import WEIGHT, Probe, probe
from l0compile.studies.pruning.masks import open_gates
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space


@pytest.fixture(scope="module")
def evaluator(space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(space, tmp_path_factory.mktemp("probe"))


def closed(model: nn.Module, kind: str) -> float:
    """Share of the gates of a kind that are closed."""
    gates = [open_gates(gate) for name, gate in named_gates(model).items() if name.endswith(kind)]
    return 1.0 - float(torch.cat([gate.flatten() for gate in gates]).float().mean()) if gates else 0.0


def test_each_group_is_tried_alone(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    price = 0.3 * evaluator.menu.dense_ms
    plan = evaluator.allocate(Choices(), price)
    lost = {
        group: sum(evaluator.menu.alone(name, plan.layers[name]).loss for name in names)
        for group, names in evaluator.members.items()
    }
    assert all(lost.values())
    seen: list[tuple[bool, ...]] = []
    kinds = {"heads": "l0_head", "neurons": "l0_neuron", "blocks": "l0_block"}
    factors = {"heads": 2.0, "neurons": 0.5, "blocks": 3.0}
    harm = {group: factor * lost[group] for group, factor in factors.items()}

    def quality(model: nn.Module, split: str) -> float:
        shares = {group: closed(model, kind) for group, kind in kinds.items()}
        seen.append(tuple(share > 0 for share in shares.values()))
        return 1.0 - sum(harm[group] for group, share in shares.items() if share > 0)

    monkeypatch.setattr(evaluator.task, "quality", quality)
    found = probe(evaluator, Choices(), price)
    assert seen == [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]
    assert found.worth == pytest.approx({"heads": 1.0, "neurons": 0.25, "blocks": 1.5})


def test_what_cannot_be_told_counts_as_the_others_do(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = probe(evaluator, Choices(), 2 * evaluator.menu.dense_ms)  # all as near to dense as they may be
    assert set(none.worth) == set(evaluator.members)
    monkeypatch.setattr(evaluator.task, "quality", lambda model, split: 1.0 + closed(model, "l0_block"))
    better = probe(evaluator, Choices(), 0.3 * evaluator.menu.dense_ms)
    assert better.worth == dict.fromkeys(evaluator.members, 1.0)
    monkeypatch.setattr(evaluator.task, "quality", lambda model, split: 1.0 - closed(model, "l0_block"))
    only = probe(evaluator, Choices(), 0.3 * evaluator.menu.dense_ms)
    assert only.worth["heads"] == only.worth["neurons"] == 1.0 and only.worth["blocks"] == pytest.approx(
        100.0
    )


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(1e-4, 1e4), min_size=1))
def test_choices_are_what_trials_may_draw(worth: dict[str, float]) -> None:
    first = next(iter(worth))
    full, half = Probe({**worth, first: 1.0}).to_try()
    assert first not in full.weight and set(full.weight) == set(worth) - {first} == set(half.weight)
    for name, weight in full.weight.items():
        assert WEIGHT[0] <= weight <= WEIGHT[1]
        if WEIGHT[0] < weight < WEIGHT[1]:
            assert weight == pytest.approx(worth[name], abs=1e-4)
        assert half.weight[name] == pytest.approx(
            min(max(worth[name] ** 0.5, WEIGHT[0]), WEIGHT[1]), abs=1e-4
        )


def test_trials_begin_with_them(evaluator: Evaluator, tmp_path: Path) -> None:
    search = searching(make_fitter(evaluator, tmp_path, 0.7), tmp_path, 4)
    search.run(*TRIALS)
    study, price = search.context.study, search.state.kept.price_ms
    assert price is not None
    first, *others = probe(evaluator, study.neutral(), price).to_try()
    tried = [trial.choices for trial in study.trials()]
    assert tried[:3] == [study.neutral(), first, *others] and enough(study.trials(), 4)
    assert study.state.known_weights == first.weight
