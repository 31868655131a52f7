"""A kill loses nothing that was completed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
from instant import make_evaluator, run_trials
from optuna.trial import TrialState

from l0compile.studies.space.space import Space
from l0compile.studies.study.study import STORAGE, open_study
from l0compile.studies.study.trial import finished

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import tiny_task
from instant import make_evaluator, run_trials
from l0compile.studies.space.read import read_space
from l0compile.studies.study.study import open_study

space = read_space({here!r} + "/tiny.toml")
study = open_study(space, Path({out!r}), resume=False, conditions="here")
(Path({out!r}) / "opened").touch()
evaluator = make_evaluator(space, Path({out!r}))
evaluate, calls = evaluator.evaluate, []

def slow(*choices):
    calls.append(choices)
    if len(calls) == 3:
        time.sleep(600)  # the third trial never ends
    return evaluate(*choices)

evaluator.evaluate = slow
run_trials(study, evaluator, 0.5 * evaluator.menu.dense_ms, 3)
"""


def test_completed_trials_survive_a_kill_and_the_running_one_is_tried_again(
    space: Space, tmp_path: Path
) -> None:
    here = str(Path(__file__).parent)
    code = SCRIPT.format(here=here, out=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        running = wait_for_running(tmp_path, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [trial.state for trial in running] == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING]

    study = open_study(space, tmp_path, resume=True, conditions="here")
    kept = study.trials()
    assert [trial.outcome.quality for trial in kept if trial.outcome] == [
        trial.value for trial in running[:2]
    ]
    assert len(kept) == 2
    evaluator = make_evaluator(space, tmp_path, study.outcomes())
    # One more than there are: trials of one structure count once.
    wanted = len(study.outcomes()) + 1
    (told,) = run_trials(study, evaluator, 0.5 * evaluator.menu.dense_ms, wanted=wanted)
    assert told.choices == finished(running[2]).choices and told.outcome is not None
    states = [trial.state for trial in study.handle.trials]
    assert states[:3] == [TrialState.COMPLETE] * 2 + [TrialState.FAIL]
    assert study.trials() == (*kept, told)


def wait_for_running(folder: Path, process: "subprocess.Popen[bytes]") -> list[optuna.trial.FrozenTrial]:
    """The trials once two are complete and a third, with its parameters, is running."""
    url = f"sqlite:///{folder / STORAGE}"
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.2)
        if (folder / "opened").exists():  # not before: opening a storage makes the tables that are not there
            trials = optuna.load_study(study_name="l0compile", storage=url).trials
            if len(trials) == 3 and len(trials[2].params) == 5:
                return trials
    raise AssertionError("the study did not get to its third trial")
