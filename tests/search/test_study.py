"""The study: how outcomes become trials, what is remembered, and that a kill loses nothing that was completed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from instant import InstantEvaluator, make_evaluator
from optuna.trial import TrialState

from l0compile.errors import BuildError, ConfigError, DataError
from l0compile.search import Choices, Space
from l0compile.search.run import legal_shapes
from l0compile.search.study import STORAGE, Study, open_study


def opened(space: Space, out: Path, resume: bool = False, conditions: str = "here") -> Study:
    return open_study(space, legal_shapes(space), out, resume=resume, conditions=conditions)


def at(blocks: float, shape: tuple[int, int] = (4, 1)) -> Choices:
    return Choices({"heads": 1.0, "neurons": 1.0, "blocks": blocks}, {"blocks": shape})


@pytest.fixture
def evaluator(space: Space, tmp_path: Path) -> InstantEvaluator:
    return make_evaluator(space, tmp_path)


def test_fast_enough_is_trained_and_feasible(
    space: Space, tmp_path: Path, evaluator: InstantEvaluator
) -> None:
    study = opened(space, tmp_path)
    study.enqueue(at(0.4))
    trial = study.run_trial(evaluator)
    assert trial.choices == at(0.4) and trial.error is None
    assert trial.outcome is not None and trial.outcome.trained and 0.9 < trial.outcome.quality <= 1.0
    frozen = study.handle.trials[0]
    assert frozen.state is TrialState.COMPLETE and frozen.constraints["latency"] < 0
    assert trial.candidate().outcome == "trained" and trial.candidate().choices["live"] == pytest.approx(
        0.4, abs=0.01
    )
    assert study.best() == trial


def test_too_slow_is_recorded_but_not_trained(
    space: Space, tmp_path: Path, evaluator: InstantEvaluator
) -> None:
    study = opened(space, tmp_path)
    study.enqueue(at(0.9))
    trial = study.run_trial(evaluator)
    assert trial.outcome is not None and not trial.outcome.trained and trial.outcome.load > 1
    frozen = study.handle.trials[0]
    assert frozen.state is TrialState.COMPLETE and frozen.constraints["latency"] > 0
    assert frozen.value == trial.outcome.quality
    assert trial.candidate().outcome == "too slow"
    assert evaluator.trainings == 0 and study.best() is None and study.fastest() == trial
    # The sweep wants it trained all the same, without a second measurement.
    study.enqueue(at(0.9))
    swept = study.run_trial(evaluator, sweep=1.3)
    assert swept.sweep == 1.3 and swept.outcome is not None and swept.outcome.trained
    assert (evaluator.trainings, evaluator.measured) == (1, 1)
    assert study.best() is None


def test_a_failed_build_is_a_recorded_trial(
    space: Space, tmp_path: Path, evaluator: InstantEvaluator
) -> None:
    evaluator.error = BuildError("no kernel for this")
    study = opened(space, tmp_path)
    trial = study.run_trial(evaluator)
    assert trial.outcome is None and trial.error == "BuildError: no kernel for this"
    assert study.handle.trials[0].state is TrialState.FAIL
    assert trial.candidate().outcome == "failed" and trial.candidate().error == trial.error
    evaluator.error = None
    assert study.run_trial(evaluator).error is None and len(study.trials()) == 2


def test_one_structure_is_measured_and_trained_once(space: Space, tmp_path: Path) -> None:
    study, evaluator = opened(space, tmp_path), make_evaluator(space, tmp_path, budget_ms=9.0)
    for shape in ((4, 1), (4, 4), (4, 1)):
        study.enqueue(Choices({"heads": 0.5, "neurons": 0.5, "blocks": 1.0}, {"blocks": shape}))
        study.run_trial(evaluator)
    assert (evaluator.measured, evaluator.trainings) == (1, 1)
    assert len({trial.outcome for trial in study.trials()}) == 1 and len(study.trials()) == 3


def test_resuming_keeps_trials_and_what_they_found(
    space: Space, tmp_path: Path, evaluator: InstantEvaluator
) -> None:
    study = opened(space, tmp_path)
    study.enqueue(at(0.4))
    first = study.run_trial(evaluator)
    again = opened(space, tmp_path, resume=True)
    assert again.trials() == (first,)
    later = make_evaluator(space, tmp_path, again.outcomes())
    again.enqueue(at(0.4))
    assert again.run_trial(later).outcome == first.outcome
    assert (later.measured, later.trainings) == (0, 0)


def test_a_new_study_moves_the_old_one_aside(
    space: Space, tmp_path: Path, evaluator: InstantEvaluator
) -> None:
    for _ in range(3):
        opened(space, tmp_path).run_trial(evaluator)
    assert sorted(path.name for path in tmp_path.glob("*.sqlite")) == [
        "study-1.sqlite",
        "study-2.sqlite",
        STORAGE,
    ]
    assert len(opened(space, tmp_path, resume=True).trials()) == 1


def test_another_space_or_machine_is_refused_and_changes_nothing(
    space: Space, tmp_path: Path, evaluator: InstantEvaluator
) -> None:
    opened(space, tmp_path).run_trial(evaluator)
    with pytest.raises(ConfigError, match=r"another search space, text or machine.*--resume"):
        opened(space, tmp_path, resume=True, conditions="elsewhere")
    assert len(opened(space, tmp_path, resume=True).trials()) == 1


def test_a_study_that_cannot_be_written_is_told(space: Space, tmp_path: Path) -> None:
    (tmp_path / STORAGE).mkdir()
    with pytest.raises(DataError, match=r"can't be written.*completed trials are kept"):
        opened(space, tmp_path, resume=True)


def test_the_sampler_learns_the_budget(space: Space, tmp_path: Path, evaluator: InstantEvaluator) -> None:
    study = opened(space, tmp_path)
    for _ in range(18):
        study.run_trial(evaluator)
    late = study.trials()[-8:]
    fast = [trial for trial in late if trial.outcome is not None and trial.outcome.load <= 1.0]
    assert len(fast) >= 4


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import tiny_task
from instant import make_evaluator
from l0compile.search import read_space
from l0compile.search.run import legal_shapes
from l0compile.search.study import open_study

space = read_space({here!r} + "/tiny.toml")
study = open_study(space, legal_shapes(space), Path({out!r}), resume=False, conditions="here")
evaluator = make_evaluator(space, Path({out!r}))
evaluator.pause_after = 2  # the third trial never ends
while True:
    study.run_trial(evaluator)
"""


def test_completed_trials_survive_a_kill_and_the_running_one_is_tried_again(
    space: Space, tmp_path: Path
) -> None:
    here = str(Path(__file__).parent)
    code = SCRIPT.format(here=here, out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        running = wait_for_running(tmp_path / STORAGE, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [trial.state for trial in running] == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING]

    study = opened(space, tmp_path, resume=True)
    kept = study.trials()
    assert [trial.error for trial in kept] == [None, None, "stopped before it was finished"]
    assert [trial.outcome.quality for trial in kept[:2] if trial.outcome] == [
        trial.value for trial in running[:2]
    ]
    retried = study.run_trial(make_evaluator(space, tmp_path, study.outcomes()))
    assert retried.choices == kept[2].choices and retried.outcome is not None


def wait_for_running(file: Path, process: "subprocess.Popen[bytes]") -> list[optuna.trial.FrozenTrial]:
    """The trials once two are complete and a third, with its parameters, is running."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.2)
        if file.exists():
            try:
                trials = optuna.load_study(study_name="l0compile", storage=f"sqlite:///{file}").trials
            except (KeyError, RuntimeError, optuna.exceptions.StorageInternalError):
                continue  # the tables are being made
            if len(trials) == 3 and len(trials[2].params) == 4:
                return trials
    raise AssertionError("the study did not get to its third trial")
