"""Claim: it pays to choose how much each layer keeps. MiniLM pruned to a latency, without any training.

    python benchmarks/one_shot.py [--speedups 1.5 2 ...] [--trials 16] [--folder KEEP] [--text FOLDER]

All 36 layers are pruned to ten densities in six block shapes, with 768 sentences; ``candidates_s`` is the time of this
step if it was needed (wanted: 600). For each speed-up over OpenVINO's dense model a plan is fitted (compiled and
measured, see budgets.py), and three others of the same price are made: (a) 4x4 blocks at one density everywhere; (b)
the best single block shape at one density everywhere; (c) levels chosen under a budget of multiplications instead of
milliseconds. All weights come from least squares on the calibration sentences. ``ours`` gives all layers the same
importance. ``searched`` is the best of some trials on validation text, as in a search, and is fitted and measured too.
Uniform plans exist only at the densities of levels, so ``at its price`` says what ours and the searched one reach at
the price of each of them. ``quality`` is the Spearman correlation of pairwise similarities with the dense model on
held-out text. Wanted: 0.97 at speed-up 1.5 and 0.90 at 2; ours above (a), (b) and (c). Appends to
``benchmarks/results/one_shot.jsonl``.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import optuna
from harness import record, searching

from l0compile.measurement.stopwatch import Job
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.evaluate import Evaluator, evaluate_trial
from l0compile.studies.fit.fit import Fitted, Fitter
from l0compile.studies.fit.probe import probe
from l0compile.studies.pruning.allocation import Allocation, Menu
from l0compile.studies.pruning.level import Level
from l0compile.studies.space.candidate import Choices
from l0compile.studies.study.state import StudyState, write_state
from l0compile.studies.study.study import STARTUP_TRIALS

SPEEDUPS = (1.5, 2.0, 3.0, 4.0)
SHAPES = ((2, 1), (4, 1), (8, 1), (4, 4), (8, 8), (16, 16))


def main() -> None:
    """Append one row for each speed-up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speedups", nargs="+", type=float, default=SPEEDUPS)
    parser.add_argument(
        "--folder", type=Path, help="where to keep candidates and models; default: a temporary one"
    )
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        space, task = searching.space_and_task(options.text)
        evaluator, seconds = searching.every_shape(space, task, SHAPES, folder)
        bench, jobs, dense = searching.dense_jobs(task, folder)
        points = [(evaluator.menu.dense_ms, dense["dense"].median_ms)]
        for speedup in options.speedups:
            budget = DeviceBudget(dense["openvino"].median_ms / speedup, 1 / speedup, jobs["openvino"])
            fitter = Fitter(evaluator, bench, budget, points)
            row = {"speedup": speedup, "candidates_s": round(seconds, 1)}
            record.append("one_shot", row | compared(evaluator, fitter, jobs["openvino"], options.trials))


def compared(evaluator: Evaluator, fitter: Fitter, reference: Job, trials: int) -> dict[str, object]:
    """Compare our plan and the three others at one latency."""
    fitted, speedup = searching.fitted(fitter, reference)
    against = others(evaluator.menu, fitted)
    choices = searched(evaluator, fitted.allocation.ms, trials)
    best, best_speedup = searching.fitted(fitter, reference, choices)
    plans = {"ours": fitted.allocation, **against, "searched": best.allocation}

    def at_its_price(choices: Choices) -> dict[str, float]:
        return {
            name: quality(evaluator, evaluator.allocate(choices, plan.ms)) for name, plan in against.items()
        }

    return {
        "measured_speedup": speedup,
        "price_ms": round(fitted.allocation.ms, 3),
        "live": {name: round(live(evaluator, plan), 4) for name, plan in plans.items()},
        "quality": {name: quality(evaluator, plan) for name, plan in plans.items()},
        "searched_speedup": best_speedup,
        "at its price": {"ours": at_its_price(Choices()), "searched": at_its_price(choices)},
    }


def searched(evaluator: Evaluator, price_ms: float, trials: int) -> Choices:
    """Search the importances of layers, and return the best of some trials at that price."""
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=STARTUP_TRIALS, multivariate=True),
    )
    names = [group.name for group in evaluator.space.gates]
    neutral = Choices(dict.fromkeys(names[1:], 1.0), dict.fromkeys(names, 0.0))
    first, *others = probe(evaluator, neutral, price_ms).to_try()
    write_state(study, StudyState(known_weights=dict(first.weight)))
    for choices in (neutral, first, *others):
        study.enqueue_trial(choices.to_params())
    study.optimize(lambda trial: evaluate_trial(trial, evaluator.space, evaluator, price_ms).quality, trials)
    return Choices.from_params(study.best_params)


def others(menu: Menu, fitted: Fitted) -> dict[str, Allocation]:
    """Make the baselines, each as dense as our price allows."""
    shapes = sorted({level.block for levels in menu.layers.values() for level in levels if level.block})
    uniform = {shape: plan for shape in shapes if (plan := _uniform(menu, shape, fitted.allocation.ms))}
    best = min(uniform.values(), key=lambda plan: plan.loss)
    found = {
        "one density, best block": best,
        "multiplications": _by_multiplications(menu, fitted.allocation.ms),
    }
    return {"one density, 4x4": uniform[4, 4], **found}


def _uniform(menu: Menu, shape: tuple[int, int], price_ms: float) -> Allocation | None:
    """Put every layer at the same level of one block shape."""
    count = max(len(paths[shape].densities) if shape in paths else 0 for paths in menu.paths.values())
    for number in range(count):
        chosen = {
            name: next((level for level in levels if level.block == shape and level.number == number), None)
            for name, levels in menu.layers.items()
        }
        if all(chosen.values()):
            plan = Allocation({name: level for name, level in chosen.items() if level is not None})
            if plan.ms <= price_ms:
                return plan
    return None


def _by_multiplications(menu: Menu, price_ms: float) -> Allocation:
    """Choose the levels of least loss under a number of multiplications, as high as the price allows."""

    def counted(name: str, level: Level) -> Level:
        paths = menu.paths[name].values()
        size = next(path.gone.numel() * path.block[0] * path.block[1] for path in paths)
        return replace(level, ms=size * level.density)

    levels = {name: tuple(counted(name, level) for level in given) for name, given in menu.layers.items()}
    by_count = Menu(levels, menu.paths)
    real = {
        (name, level.block, level.number): level for name, given in menu.layers.items() for level in given
    }

    def allocate(share: float) -> Allocation:
        found = by_count.allocate(share * by_count.dense_ms)
        return Allocation(
            {name: real[name, level.block, level.number] for name, level in found.layers.items()}
        )

    low, high = 0.001, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if allocate(middle).ms <= price_ms else (low, middle)
    return allocate(low)


def live(evaluator: Evaluator, allocation: Allocation) -> float:
    """Return the share of the weights that is left."""
    sizes = {name: evaluator.origin.get_submodule(name).weight.numel() for name in allocation.layers}
    return sum(sizes[name] * level.density for name, level in allocation.layers.items()) / sum(sizes.values())


def quality(evaluator: Evaluator, allocation: Allocation) -> float:
    """Measure quality on held-out text, with weights by least squares."""
    model = evaluator.realised(allocation)
    evaluator.solve(model)
    return round(evaluator.task.quality(model, "held_out"), 4)


if __name__ == "__main__":
    main()
