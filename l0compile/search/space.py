"""What is searched: task, gates with their ranges, latency budget and effort, read from a TOML file."""

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from l0compile.errors import ConfigError
from l0compile.gates import Block, Granularity, Head, Neuron
from l0compile.search.table import Table, pair, shape, word
from l0compile.tasks import list_tasks, task_options

KINDS = ("block", "head", "neuron")
REFERENCES = ("onnxruntime", "pytorch")


@dataclass(frozen=True)
class GateGroup:
    """Gates of one kind on every module that matches one of `patterns` (shell style; `*` crosses dots).

    `density`: range (low, high] of the share of gates that stay open, ranked over the whole group. `shapes`: block shapes
    (rows, columns) to choose from, for blocks only. `heads`: attention heads of each module, for heads only.
    """

    name: str
    kind: str
    patterns: tuple[str, ...]
    density: tuple[float, float]
    shapes: tuple[tuple[int, int], ...] = ()
    heads: int = 0

    def granularity(self, block: tuple[int, int] | None) -> Granularity:
        """What to attach; `block` is the chosen one of `shapes`."""
        match self.kind:
            case "block":
                return Block(*(block or self.shapes[0]))
            case "head":
                return Head(self.heads)
            case _:
                return Neuron()


@dataclass(frozen=True)
class LatencyBudget:
    """At most `ms` milliseconds, or at most `ratio` times the dense latency of the engine `reference` on this machine."""

    ratio: float | None
    ms: float | None
    reference: str = "onnxruntime"

    def in_ms(self, reference_ms: float) -> float:
        """The budget in milliseconds, given the reference's dense latency."""
        return self.ms if self.ms is not None else (self.ratio or 1.0) * reference_ms


@dataclass(frozen=True)
class Effort:
    """How long to search: `trials` at most, `seconds` in all; `sweep`: budgets for the Pareto front, relative to the budget."""

    trials: int = 12
    seconds: float = 720.0
    sweep: tuple[float, ...] = (1.0, 0.75, 1.3)
    seed: int = 0


@dataclass(frozen=True)
class TrainingPlan:
    """Batch size; steps with frozen masks for a candidate; for the winner at most `gate_steps` with gates, then `tune_steps`."""

    batch: int = 32
    candidate_steps: int = 20
    gate_steps: int = 0
    tune_steps: int = 400
    weight_rate: float = 2e-4
    gate_rate: float = 0.1


@dataclass(frozen=True)
class Space:
    """A checked search space. `options` is the task's own options value; `feeds` maps producer to consumer (see `Budget`)."""

    name: str
    task: str
    options: Any
    gates: tuple[GateGroup, ...]
    latency: LatencyBudget
    feeds: Mapping[str, str] = field(default_factory=dict)
    effort: Effort = Effort()
    training: TrainingPlan = TrainingPlan()

    def fingerprint(self) -> str:
        """Hash of everything that makes trials comparable: task, gates, latency budget and candidate training."""
        facts = {
            "task": [self.task, dataclasses.asdict(self.options)],
            "gates": [dataclasses.asdict(group) for group in self.gates],
            "latency": dataclasses.asdict(self.latency),
            "training": [self.training.batch, self.training.candidate_steps, self.training.weight_rate],
            "seed": self.effort.seed,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def quick(self) -> "Space":
        """The same space with two trials and a few steps, for tests."""
        effort = dataclasses.replace(
            self.effort, trials=2, seconds=min(self.effort.seconds, 240.0), sweep=(1.0,)
        )
        plan = dataclasses.replace(self.training, batch=8, candidate_steps=2, gate_steps=2, tune_steps=4)
        return dataclasses.replace(self, effort=effort, training=plan)


def read_space(path: str | Path) -> Space:
    """The space in the TOML file `path`. Raises ConfigError naming file, key and what is allowed."""
    file = Path(path)
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: can't be read as a search space: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: is not valid TOML: {error}") from error
    return parse_space(data, file=str(file))


def parse_space(data: Mapping[str, Any], *, file: str = "space") -> Space:
    """The space in parsed TOML; `file` is named in errors."""
    root = Table(file, "", data)
    task = root.table("task")
    name = task.choice("name", list_tasks())
    options = task_options(name, task.rest(), where=f"{file}: task")
    space = Space(
        Path(file).stem,
        name,
        options,
        _groups(root),
        _latency(root.table("latency")),
        _feeds(root.table("feeds")),
        _effort(root.table("search")),
        _training(root.table("training")),
    )
    root.done()
    return space


def _groups(root: Table) -> tuple[GateGroup, ...]:
    groups = tuple(_group(table) for table in root.tables("gates"))
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise root.error("gates", "a different name for each group", names)
    return groups


def _group(table: Table) -> GateGroup:
    kind = table.choice("kind", KINDS)
    group = GateGroup(
        name=table.text("name"),
        kind=kind,
        patterns=table.items("patterns", "module-name patterns", word),
        density=table.value("density", "[low, high] with 0 < low <= high <= 1", pair),
        shapes=table.items("shapes", 'block shapes such as "4x1"', shape) if kind == "block" else (),
        heads=table.integer("heads", 1, 1024) if kind == "head" else 0,
    )
    if not group.patterns or (kind == "block" and len(set(group.shapes)) != max(1, len(group.shapes))):
        key = "shapes" if group.patterns else "patterns"
        raise table.error(key, "at least one entry, each once", [])
    table.done()
    return group


def _latency(table: Table) -> LatencyBudget:
    if table.has("ratio") == table.has("ms"):
        raise table.error("", "either ratio (of the reference engine's dense latency) or ms", table.rest())
    budget = LatencyBudget(
        ratio=table.number("ratio", 0.01, 10.0) if table.has("ratio") else None,
        ms=table.number("ms", 0.001, 1e6) if table.has("ms") else None,
        reference=table.choice("reference", REFERENCES, "onnxruntime"),
    )
    table.done()
    return budget


def _feeds(table: Table) -> dict[str, str]:
    found = table.rest()
    for key, value in found.items():
        if word(value) is None:
            raise table.error(key, "the pattern of the layers that read it", value)
    return found


def _effort(table: Table) -> Effort:
    default = Effort()
    effort = Effort(
        trials=table.integer("trials", 1, 10_000, default.trials),
        seconds=table.number("seconds", 10.0, 1e6, default.seconds),
        sweep=table.items("sweep", "numbers from 0.1 to 4", _sweep_point, list(default.sweep)),
        seed=table.integer("seed", 0, 2**31 - 1, default.seed),
    )
    table.done()
    return effort


def _sweep_point(value: Any) -> float | None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and 0.1 <= value <= 4.0
    return float(value) if ok else None


def _training(table: Table) -> TrainingPlan:
    default = TrainingPlan()
    plan = TrainingPlan(
        batch=table.integer("batch", 2, 4096, default.batch),
        candidate_steps=table.integer("candidate_steps", 0, 100_000, default.candidate_steps),
        gate_steps=table.integer("gate_steps", 0, 100_000, default.gate_steps),
        tune_steps=table.integer("tune_steps", 0, 1_000_000, default.tune_steps),
        weight_rate=table.number("weight_rate", 1e-8, 1.0, default.weight_rate),
        gate_rate=table.number("gate_rate", 1e-8, 10.0, default.gate_rate),
    )
    table.done()
    return plan
