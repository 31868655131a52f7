"""The search from beginning to end: set up, then one phase after another."""

import dataclasses
import time
from pathlib import Path

from l0compile.errors import StorageError
from l0compile.measurement import Stopwatch
from l0compile.measurement.device import check_remote, device_and_target
from l0compile.studies.context import Phase, SearchOptions, SearchState
from l0compile.studies.explore.finalists import fit_finalists, restore_finalists, sweep_budgets
from l0compile.studies.explore.price import choose_price
from l0compile.studies.explore.racing import race_finalists
from l0compile.studies.explore.share import choose_share
from l0compile.studies.explore.trials import run_trials
from l0compile.studies.finish.choose import train_chosen
from l0compile.studies.finish.finish import finish
from l0compile.studies.result import PHASE_SECONDS, RESULT, SearchResult
from l0compile.studies.setup import set_up
from l0compile.studies.space.space import Space
from l0compile.studies.study.clock import Clock
from l0compile.studies.study.progress import Ledger, SearchProgress, Silent
from l0compile.studies.study.study import STUDY
from l0compile.tasks import Task, Team

PHASES: tuple[Phase, ...] = (
    restore_finalists,
    choose_share,
    choose_price,
    run_trials,
    fit_finalists,
    race_finalists,
    sweep_budgets,
    train_chosen,
    finish,
)
"""What a search does, in this order."""


def run_search(
    space: Space,
    out: Path,
    *,
    text: Path | None = None,
    task: Task | None = None,
    target: str = "native",
    quick: bool = False,
    resume: bool = False,
    storage: str | None = None,
    study: str = STUDY,
    progress: SearchProgress | None = None,
    team: Team | None = None,
) -> SearchResult:
    """Search as ``search_space`` does, silent by default. task: used instead of the one that ``space`` names."""
    space = space.quick() if quick else space
    clock = Clock(time.monotonic(), space.effort.seconds)
    device, code = device_and_target(target)
    if device is not None:
        check_remote(code)
    options = SearchOptions(out, code, device, text, resume, storage, study, team)
    try:
        out.mkdir(parents=True, exist_ok=True)
        ledger = Ledger(progress or Silent())
        result = _run(space, options, task, clock, ledger)
        spent = {"search seconds": round(time.monotonic() - clock.start), "allowed": space.effort.seconds}
        facts = {**result.facts, "time": spent, PHASE_SECONDS: ledger.close()}
        result = dataclasses.replace(result, facts=facts)
        result.save(out / RESULT)
    except FileExistsError as error:
        raise StorageError(f"search: {out}: expected a folder, got a file; choose another --out") from error
    except OSError as error:
        raise StorageError(
            f"search: {out} can't be written ({error.strerror or error}); free disk space or choose another --out, "
            "then continue with --resume: completed trials are kept"
        ) from error
    return result


def _run(
    space: Space, options: SearchOptions, task: Task | None, clock: Clock, progress: SearchProgress
) -> SearchResult:
    with Stopwatch(told=lambda name, s: progress.note(f"  {name}: ready, after {s:.1f} s")) as stopwatch:
        context = set_up(space, options, task, stopwatch, clock, progress)
        state = SearchState(context.study.state)
        for phase in PHASES:
            state = phase(context, state)
    assert state.result is not None
    return state.result
