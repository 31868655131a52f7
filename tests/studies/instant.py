"""What a search works with, made in a second: real candidates and qualities, and a latency that is a formula."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import tiny_task
from torch import nn

from l0compile.errors import BuildError
from l0compile.gates import named_gates
from l0compile.gates.granularity import gate_name
from l0compile.hardware.targets import load_target
from l0compile.measurement import Ratio
from l0compile.studies.bench.bench import Bench
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.evaluate import Evaluator, evaluate_trial
from l0compile.studies.fit.fit import Fitted, Fitter
from l0compile.studies.pruning.allocation import Allocation
from l0compile.studies.pruning.masks import block_of, gated_layers, open_gates, structure
from l0compile.studies.pruning.prices import LatencyLine, Prices, linear_calls
from l0compile.studies.pruning.units import UnitGroup
from l0compile.studies.result import Latency
from l0compile.studies.setup import legal_shapes, prepare
from l0compile.studies.space.candidate import Choices, layers_of
from l0compile.studies.space.space import Space
from l0compile.studies.study.progress import Silent
from l0compile.studies.study.study import Study
from l0compile.studies.study.trial import Outcome, Trial, finished
from l0compile.studies.workers.worker import work

HEARTBEAT_S = 0.15


def make_evaluator(space: Space, folder: Path, seen: Mapping[str, Outcome] | None = None) -> Evaluator:
    task = tiny_task.TinyTask(tiny_task.TinyOptions())
    groups, target = layers_of(task.dense(), space), load_target("native")
    # Without measured costs: prices in proportion to the multiplications that are left.
    prices = Prices(target, None)
    shapes = legal_shapes(space, target)
    evaluator = prepare(task, space, groups, shapes, prices, folder / "candidates", Silent())
    evaluator.seen.update(seen or {})
    return evaluator


def make_free_evaluator(space: Space, folder: Path) -> Evaluator:
    """Of layers that may lose anything."""
    free = dataclasses.replace(space.gates[2], density=(0.0, 1.0))
    return make_evaluator(dataclasses.replace(space, gates=(free,)), folder)


def run_trials(
    study: Study, evaluator: Evaluator, price_ms: float, count: int = 1, wanted: int = 1_000_000
) -> list[Trial]:
    """The next `count` trials, whether they fail or not; fewer where `wanted` ones are complete."""
    told: list[Trial] = []

    def objective(trial: optuna.trial.Trial) -> float:
        return evaluate_trial(trial, study.space, evaluator, price_ms).quality

    work(
        study.handle, objective, wanted, on_trial=lambda trial: told.append(finished(trial)),
        stop=lambda: len(told) >= count, heartbeat_s=HEARTBEAT_S, reseed=False,
    )  # fmt: skip
    return told


@dataclass
class FormulaFitter(Fitter):
    """Latency = slope * price + rest * the dense price, and up to `noise` of that more or less.

    dense_ms: that price, which does not change with the menu. timed: structures in the order of their measurement.
    error: raised instead of a measurement.
    """

    dense_ms: float = 0.0
    slope: float = 1.4
    rest: float = 0.25
    noise: float = 0.0
    timed: list[str] = field(default_factory=list)
    error: BuildError | None = None

    def formula(self, price: float) -> float:
        return self.slope * price + self.rest * self.dense_ms

    def measure(
        self,
        choices: Choices,
        allocation: Allocation,
        line: LatencyLine,
        band: tuple[float, float] | None = None,
    ) -> Fitted:
        self.planned = allocation
        return super().measure(choices, allocation, line, band)

    def time(self, model: nn.Module, band: tuple[float, float] | None = None) -> tuple[Latency, Ratio]:
        if self.error is not None:
            raise self.error
        key = structure(model)
        self.timed.append(key)
        chance = 2.0 * int(key[:4], 16) / 0xFFFF - 1.0
        ms = self.formula(self.planned.ms) * (1.0 + self.noise * chance)
        return Latency(ms, ms, ms), Ratio(*[ms / self.budget.ms] * 3)


def price(evaluator: Evaluator, model: nn.Module) -> float:
    """What the gated layers of a hardened model take, and its heads and neurons."""
    prices, layers, parts = Prices(load_target("native"), None), gated_layers(model), evaluator.menu.units
    names = [name for name in evaluator.menu.layers if name not in parts]
    places = linear_calls(evaluator.task.dense(), tuple(names), evaluator.task.example())
    gates, found = named_gates(model), 0.0
    for name in names:
        block = block_of(layers[name]) if name in layers else None
        shape = (block.rows, block.cols) if block else None
        share, density = _left(name, model, parts)
        found += share * prices.ms(places[name], shape, density)
    for part in parts.values():
        gate = gates.get(f"{part.layer}.{gate_name(part.granularity)}")
        found += part.ms * (float(open_gates(gate).float().mean()) if gate else 1.0)
    return found


def _left(name: str, model: nn.Module, parts: Mapping[str, UnitGroup]) -> tuple[float, float]:
    """The share of a layer that belongs to heads or neurons that are left, and the density of its blocks there."""
    gates, block = named_gates(model), block_of(gated_layers(model).get(name, nn.Linear(1, 1)))
    blocks = open_gates(gates[f"{name}.{gate_name(block)}"]).float() if block else None
    for part in parts.values():
        gate = gates.get(f"{part.layer}.{gate_name(part.granularity)}")
        if gate is None or name not in (part.layer, *part.producers):
            continue
        live = open_gates(gate).flatten()
        share = float(live.float().mean())
        if blocks is None:
            return share, 1.0
        grid = blocks.T if name == part.layer else blocks
        if len(grid) % len(live):
            break  # blocks that lie in two of them
        return share, float(grid.unflatten(0, (len(live), -1))[live].mean()) if share else 0.0
    return 1.0, 1.0 if blocks is None else float(blocks.mean())


@dataclass
class MaskFitter(FormulaFitter):
    """Times what is left of a model, not its plan."""

    def time(self, model: nn.Module, band: tuple[float, float] | None = None) -> tuple[Latency, Ratio]:
        ms = self.formula(price(self.evaluator, model))
        self.timed.append("")
        return Latency(ms, ms, ms), Ratio(*[ms / self.budget.ms] * 3)


def make_fitter(
    evaluator: Evaluator,
    folder: Path,
    share: float = 0.6,
    slope: float = 1.4,
    rest: float = 0.25,
    noise: float = 0.0,
) -> FormulaFitter:
    """A fitter whose budget is that share of what the dense model takes."""
    fitter = FormulaFitter(
        evaluator, Bench(evaluator.task, folder), DeviceBudget(1.0), [], slope=slope, rest=rest, noise=noise
    )
    dense = fitter.dense_ms = evaluator.menu.dense_ms
    fitter.budget = DeviceBudget(share * fitter.formula(dense))
    fitter.points.append((dense, fitter.formula(dense)))
    return fitter
