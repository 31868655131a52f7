"""Worker processes that are started, killed with SIGKILL and started again, and the book kept of their study."""

import contextlib
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from l0compile.cli import main
from l0compile.errors import ConfigError
from l0compile.studies.fit.search_job import OBJECTIVES, post_job
from l0compile.studies.workers.pulse import HEARTBEAT
from l0compile.studies.workers.retry import RETRY_OF
from l0compile.studies.workers.storage import open_storage
from l0compile.studies.workers.worker import Objective

# Processes start from one that has imported everything and has neither threads nor connections.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["l0compile.cli.worker", "optuna.samplers", "sqlalchemy.orm"])


def simulated(job: Mapping[str, Any], folder: Path) -> Objective:
    """A device that takes ``seconds`` for a trial and knows its value: 1 at (0.3, 0.6), less elsewhere."""
    seconds = job.get("seconds", 0.0)
    if not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
        raise ConfigError(f"job: seconds: expected a number from 0 to 3600, got {seconds!r}")

    def evaluate(trial: optuna.trial.Trial) -> float:
        x, y = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("y", 0.0, 1.0)
        time.sleep(seconds)
        return 1.0 - (x - 0.3) ** 2 - (y - 0.6) ** 2

    return evaluate


# Here and in the processes that import this file to run `command`.
OBJECTIVES["simulated"] = simulated


def command(*argv: str) -> None:
    """``l0compile`` with `argv`, as the whole of this process."""
    sys.stderr = sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    sys.exit(main(argv))


def spawn(*argv: str) -> ForkServerProcess:
    process = _CONTEXT.Process(target=command, args=argv, daemon=True)
    process.start()
    return process


def new_study(url: str, job: dict[str, Any]) -> optuna.study.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=open_storage(url), study_name="l0compile", direction="maximize")
    post_job(study, job)
    return study


class Fleet:
    """`count` workers on the study at `url`."""

    def __init__(self, url: str, count: int) -> None:
        self.processes = [spawn("worker", "--storage", url) for _ in range(count)]
        self._url = url

    def kill(self, place: int) -> None:
        """Kill one with SIGKILL, and put another in its place."""
        self.processes[place].kill()
        self.processes[place].join()
        self.processes[place] = spawn("worker", "--storage", self._url)

    def alive(self) -> list[int]:
        return [place for place, process in enumerate(self.processes) if process.is_alive()]

    def codes(self) -> list[int | None]:
        return [process.exitcode for process in self.processes]

    def join(self, timeout_s: float) -> None:
        """Wait until all have ended by themselves."""
        deadline = time.monotonic() + timeout_s
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


@contextlib.contextmanager
def fleet(url: str, count: int) -> Iterator[Fleet]:
    """Workers that are gone when the ``with`` ends."""
    workers = Fleet(url, count)
    try:
        yield workers
    finally:
        workers.end()


class Book:
    """Every completed trial ever seen in `study`, to be compared with those there are in the end."""

    def __init__(self, study: optuna.study.Study) -> None:
        self._study = study
        self._seen: dict[int, float] = {}

    def look(self) -> list[FrozenTrial]:
        """The completed trials now."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        now = {trial.number: float(trial.value or 0.0) for trial in complete}
        self.lost = [number for number, value in self._seen.items() if now.get(number) != value]
        self._seen |= now
        return complete

    def account(self) -> dict[str, int]:
        """How many were completed, lost or changed, counted twice, interrupted, retried and left behind."""
        complete = self.look()
        trials = self._study.get_trials(deepcopy=False)
        by_number = {trial.number: trial for trial in trials}

        def root(trial: FrozenTrial) -> int:
            while RETRY_OF in trial.user_attrs:
                trial = by_number[trial.user_attrs[RETRY_OF]]
            return trial.number

        points = {(trial.params["x"], trial.params["y"]) for trial in complete}
        twice = len(complete) - min(len({root(trial) for trial in complete}), len(points))
        states = [trial.state for trial in trials]
        return {
            "complete": len(complete),
            "lost": len(self.lost),
            "twice": twice,
            "failed": states.count(TrialState.FAIL),
            "retries": sum(RETRY_OF in trial.user_attrs for trial in trials),
            "unfinished": len([state for state in states if not state.is_finished()]),
        }


def kill_while_it_works(study: optuna.study.Study, crew: Fleet, place: int) -> FrozenTrial | None:
    """Kill the worker at `place` if it has a trial now: the trial, None if it has none, or had just finished it."""
    mark = f":{crew.processes[place].pid}:"
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if mark in trial.user_attrs.get(HEARTBEAT, {}).get("worker", "") and len(trial.params) == 2:
            crew.kill(place)
            return trial if study.trials[trial.number].state != TrialState.COMPLETE else None
    return None


def run_with_kills(
    url: str, job: dict[str, Any], workers: int, kills: int, timeout_s: float
) -> dict[str, int]:
    """The account of a study whose workers are killed at random moments, `kills` times in all."""
    book, chance = Book(new_study(url, job)), random.Random(0)
    deadline, killed = time.monotonic() + timeout_s, 0
    with fleet(url, workers) as crew:
        next_kill = time.monotonic()
        while crew.alive():
            assert time.monotonic() < deadline, f"not finished: {book.account()}"
            begun = bool(book.look())
            if begun and killed < kills and time.monotonic() > next_kill:
                crew.kill(chance.choice(crew.alive()))
                killed += 1
                next_kill = time.monotonic() + chance.uniform(0.2, 1.6)
            time.sleep(0.05)
        codes = crew.codes()
    return book.account() | {"kills": killed, "workers that failed": sum(code != 0 for code in codes)}
