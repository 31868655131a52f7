"""The study: how outcomes become trials, and what is remembered."""

import dataclasses
from pathlib import Path

import pytest
from instant import make_evaluator, run_trials
from optuna.trial import TrialState

from l0compile.errors import BuildError, ConfigError, DataError
from l0compile.studies.fit.evaluate import Evaluator, evaluate_trial
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.studies.study.draw import NEAR, TILT
from l0compile.studies.study.study import STORAGE, Study, open_study


def opened(space: Space, out: Path, resume: bool = False, conditions: str = "here") -> Study:
    return open_study(space, out, resume=resume, conditions=conditions)


def at(tilt: float) -> Choices:
    return Choices(dict.fromkeys(("neurons", "blocks"), 1.0), {"heads": 0.0, "neurons": 0.0, "blocks": tilt})


@pytest.fixture
def evaluator(space: Space, tmp_path: Path) -> Evaluator:
    return make_evaluator(space, tmp_path)


def price(evaluator: Evaluator, share: float = 0.5) -> float:
    return share * evaluator.menu.dense_ms


def test_a_trial_is_recorded_with_its_outcome(space: Space, tmp_path: Path, evaluator: Evaluator) -> None:
    study = opened(space, tmp_path)
    study.enqueue(at(0.4))
    (trial,) = run_trials(study, evaluator, price(evaluator))
    assert trial.choices == at(0.4) and trial.error is None and trial.outcome is not None
    assert trial.outcome == evaluator.evaluate(at(0.4), price(evaluator))
    frozen = study.handle.trials[0]
    assert frozen.state is TrialState.COMPLETE and frozen.value == trial.outcome.quality
    assert trial.outcome.price_ms <= price(evaluator)
    candidate = trial.candidate()
    assert (candidate.outcome, candidate.quality) == ("one-shot", trial.outcome.quality)
    assert candidate.choices == {**at(0.4).to_params(), "live": round(trial.outcome.live, 4)}
    assert candidate.layers == trial.outcome.layers and candidate.latency is None
    assert study.best() == (trial,)


def test_what_fails_is_a_recorded_trial(
    space: Space, tmp_path: Path, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(space, tmp_path)
    (first,) = run_trials(study, evaluator, price(evaluator, 0.01))
    assert first.outcome is None and str(first.error).startswith(
        "InfeasibleError: search: no choice of blocks"
    )
    assert study.handle.trials[0].state is TrialState.FAIL
    assert (first.candidate().outcome, first.candidate().error) == ("failed", first.error)

    def fail(*_: object) -> float:
        raise BuildError("no kernel for this")

    with monkeypatch.context() as patch:
        patch.setattr(evaluator.task, "quality", fail)
        assert run_trials(study, evaluator, price(evaluator))[0].error == "BuildError: no kernel for this"
    assert run_trials(study, evaluator, price(evaluator))[0].error is None and len(study.trials()) == 3


def test_one_structure_is_evaluated_and_listed_once(
    space: Space, tmp_path: Path, evaluator: Evaluator
) -> None:
    study = opened(space, tmp_path)
    for choices in (at(0.0), at(0.0), at(1.0), at(0.0)):
        study.enqueue(choices)
        run_trials(study, evaluator, price(evaluator))
    assert len(study.trials()) == 4 and len(evaluator.seen) == 2
    # To weigh all layers alike is better than to spare the last ones.
    assert [trial.number for trial in study.best(3)] == [0, 2] and len(study.best()) == 1
    assert study.outcomes() == evaluator.seen


def test_resuming_keeps_trials_and_what_they_found(
    space: Space, tmp_path: Path, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = opened(space, tmp_path)
    study.keep(dataclasses.replace(study.state, price_ms=0.25))
    study.enqueue(at(0.4))
    (first,) = run_trials(study, evaluator, price(evaluator))
    again = opened(space, tmp_path, resume=True)
    assert again.trials() == (first,) and again.state.price_ms == 0.25
    assert again.state.share is None
    later = make_evaluator(space, tmp_path, again.outcomes())
    monkeypatch.setattr(later.task, "quality", None)  # not needed for what is known
    again.enqueue(at(0.4))
    assert run_trials(again, later, price(evaluator))[0].outcome == first.outcome


def test_a_new_study_moves_the_old_one_aside(space: Space, tmp_path: Path, evaluator: Evaluator) -> None:
    for _ in range(3):
        run_trials(opened(space, tmp_path), evaluator, price(evaluator))
    assert sorted(path.name for path in tmp_path.glob("*.sqlite")) == [
        "study-1.sqlite",
        "study-2.sqlite",
        STORAGE,
    ]
    assert len(opened(space, tmp_path, resume=True).trials()) == 1


def test_another_space_or_machine_is_refused_and_changes_nothing(
    space: Space, tmp_path: Path, evaluator: Evaluator
) -> None:
    run_trials(opened(space, tmp_path), evaluator, price(evaluator))
    with pytest.raises(ConfigError, match=r"another search space, text, machine or version.*--resume"):
        opened(space, tmp_path, resume=True, conditions="elsewhere")
    assert len(opened(space, tmp_path, resume=True).trials()) == 1


def test_a_study_that_cannot_be_written_is_told(space: Space, tmp_path: Path) -> None:
    (tmp_path / STORAGE).mkdir()
    with pytest.raises(DataError, match=r"expected a database that can be read and written"):
        opened(space, tmp_path, resume=True)


def test_neutral_choices_weigh_all_groups_alike(space: Space, tmp_path: Path) -> None:
    heads, neurons, blocks = space.gates
    halves = [
        dataclasses.replace(blocks, name=name, patterns=patterns)
        for name, patterns in (("attention", ("query", "key", "value", "out")), ("ffn", ("up", "down")))
    ]
    study = opened(dataclasses.replace(space, gates=(heads, neurons, *halves)), tmp_path)
    names = ("heads", "neurons", "attention", "ffn")
    assert study.neutral() == Choices(dict.fromkeys(names[1:], 1.0), dict.fromkeys(names, 0.0))


def test_draws_stay_in_their_ranges_and_are_not_repeated_on_resuming(
    space: Space, tmp_path: Path, evaluator: Evaluator
) -> None:
    halves = tuple(
        dataclasses.replace(space.gates[2], name=name, patterns=patterns)
        for name, patterns in (("attention", ("query", "key", "value", "out")), ("ffn", ("up", "down")))
    )
    wide = dataclasses.replace(space, gates=(*space.gates[:2], *halves))
    drawn: list[Choices] = []
    for resume in (False, True, True):
        study = opened(wide, tmp_path, resume=resume)
        study.keep(dataclasses.replace(study.state, known_weights={"attention": 6.0, "ffn": 0.25}))
        first = make_evaluator(wide, tmp_path, study.outcomes())
        drawn += [trial.choices for trial in run_trials(study, first, price(first), 3)]
    assert len({str(choices) for choices in drawn}) == 9
    for choices in drawn:
        assert choices.weight.keys() == {"neurons", "attention", "ffn"}
        for name, low, high in (("neurons", 1, 1), ("attention", 1, 6), ("ffn", 0.25, 1)):
            assert low / NEAR - 1e-4 <= choices.weight[name] <= high * NEAR
        assert choices.tilt.keys() == {"heads", "neurons", "attention", "ffn"}
        assert all(TILT[0] <= tilt <= TILT[1] for tilt in choices.tilt.values())


@pytest.mark.parametrize(
    "damaged", [[1.0], {"attention": "much"}, {"attention": 0.0}, {"attention": float("inf")}]
)
def test_damaged_knowledge_is_told(
    damaged: object, space: Space, tmp_path: Path, evaluator: Evaluator
) -> None:
    study = opened(space, tmp_path)
    study.handle.set_user_attr("known weights", damaged)
    with pytest.raises(DataError, match=r"known weights.*expected"):
        evaluate_trial(study.handle.ask(), space, evaluator, price(evaluator))
