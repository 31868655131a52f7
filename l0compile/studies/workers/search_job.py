"""A search as a job for workers: what they need to evaluate trials just as the process that began it does."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from l0compile.errors import ConfigError
from l0compile.pruning.parts import Part
from l0compile.pruning.prices import PriceTable, Pricing, sites
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.space.draw import evaluate_trial
from l0compile.studies.space.space import Space
from l0compile.studies.space.space_json import space_from_json, space_to_json
from l0compile.studies.workers.worker import Objective
from l0compile.tasks import make_task

if TYPE_CHECKING:
    import optuna


def search_job(space: Space, evaluator: Evaluator, prices: Pricing, price_ms: float) -> dict[str, Any]:
    """The job of evaluating trials of ``space`` at ``price_ms``, with this machine's prices, as JSON values."""
    menu, task = evaluator.menu, evaluator.task
    shapes = {name: sorted(paths) for name, paths in menu.paths.items() if name not in menu.parts}
    places = sites(task.dense(), tuple(shapes), task.example())
    table = PriceTable.of(prices, [(places[name], given) for name, given in shapes.items()])
    return {
        "kind": "search",
        "trials": space.effort.trials,
        "space": space_to_json(space),
        "source": evaluator.task.source,
        "price_ms": price_ms,
        "prices": dict(table.points),
        "shapes": shapes,
        "parts": {name: part.to_json() for name, part in menu.parts.items()},
    }


def search_objective(job: Mapping[str, Any], folder: Path) -> Objective:
    """Evaluates trials of a job made by ``search_job``; candidates of layers are made at the first one and kept in
    ``folder``. Raises ConfigError for a malformed job, and for a machine that has other data."""
    try:
        space, price_ms = space_from_json(job["space"]), float(job["price_ms"])
        points = {
            str(key): [(float(d), float(ms)) for d, ms in value] for key, value in job["prices"].items()
        }
        shapes = {name: tuple((int(r), int(c)) for r, c in given) for name, given in job["shapes"].items()}
        parts = {str(name): Part.from_json(part) for name, part in job["parts"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"job: does not fit this version of l0compile: {error}; install the same one"
        ) from error

    @cache
    def evaluator() -> Evaluator:
        task = make_task(space.task, space.options)
        if task.source != job.get("source"):
            raise ConfigError(
                f"job: source: expected the data {job.get('source')!r}, this machine has {task.source!r}; set "
                "L0COMPILE_DATA to the same data on all machines"
            )
        return Evaluator.of(task, space, shapes, parts, PriceTable(points), folder / "candidates")

    def evaluate(trial: "optuna.trial.Trial") -> float:
        return evaluate_trial(trial, space, evaluator(), price_ms).quality

    return evaluate
