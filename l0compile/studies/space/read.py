"""Read a search space from TOML; every error names file, key and what is allowed."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l0compile.errors import ConfigError
from l0compile.studies.bench.engines import REFERENCES
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.constraints.registry import parse_limits
from l0compile.studies.space.space import (
    KINDS,
    Effort,
    GateGroup,
    Space,
    TrainingPlan,
)
from l0compile.studies.space.toml_reader import Table, pair, shape, word
from l0compile.tasks import PRECISIONS, list_tasks, task_options


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
    name = _task(task, Path(file).parent)
    options = task_options(name, task.rest(), where=f"{file}: task")
    floor, limits = root.table("quality"), root.table("limits")
    quality = _quality(floor) if root.has("quality") else None
    space = Space(
        Path(file).stem,
        name,
        options,
        _groups(root),
        _latency(root.table("latency"), quality),
        _feeds(root.table("feeds")),
        _effort(root.table("search")),
        _training(root.table("training")),
        quality,
        parse_limits(limits.rest(), file),
    )
    root.done()
    return space


def _task(table: Table, folder: Path) -> str:
    """Name of a task of ours, or of a function that makes one; a file is looked for beside the space's own."""

    def known(name: Any) -> str | None:
        where, _, function = name.rpartition(":") if isinstance(name, str) else ("", "", "")
        if where and function:
            return f"{folder / where}:{function}" if where.endswith(".py") else str(name)
        return name if name in list_tasks() else None

    return table.value("name", f"one of {', '.join(list_tasks())}, or FILE.py:FUNCTION of your own", known)


def _groups(root: Table) -> tuple[GateGroup, ...]:
    groups = tuple(_group(table) for table in root.tables("gates"))
    names = [group.name for group in groups]
    if len(set(names)) < len(names):
        raise root.error("gates", "a different name for each group", names)
    if all(group.kind != "block" for group in groups):
        raise root.error("gates", "one group of blocks at least: budgets are met by what blocks take", names)
    return groups


def _group(table: Table) -> GateGroup:
    kind = table.choice("kind", KINDS)
    group = GateGroup(
        name=table.text("name"),
        kind=kind,
        patterns=table.items("patterns", "module-name patterns", word),
        density=_density(table),
        shapes=table.items("shapes", 'block shapes such as "4x1"', shape) if kind == "block" else (),
        heads=table.integer("heads", 1, 1024) if kind == "head" else 0,
    )
    if not group.patterns or (kind == "block" and len(set(group.shapes)) != max(1, len(group.shapes))):
        key = "shapes" if group.patterns else "patterns"
        raise table.error(key, "at least one entry, each once", [])
    table.done()
    return group


def _density(table: Table) -> tuple[float, float]:
    if not table.has("density"):
        return (0.0, 1.0)
    return table.value("density", "[low, high] with 0 <= low <= high <= 1, high above 0", pair)


def _quality(table: Table) -> QualityTarget:
    floor = QualityTarget(table.number("drop", 1e-6, 1.0))
    table.done()
    return floor


def _latency(table: Table, quality: QualityTarget | None) -> LatencyBudget:
    if quality is not None and (table.has("ratio") or table.has("ms")):
        raise table.error(
            "", "no ratio or ms beside quality.drop: one of the two is searched for", table.rest()
        )
    if quality is None and table.has("ratio") == table.has("ms"):
        raise table.error(
            "",
            "either ratio (of the reference engine's dense latency) or ms, or drop in a table quality",
            table.rest(),
        )
    budget = LatencyBudget(
        ratio=table.number("ratio", 0.01, 10.0) if table.has("ratio") else None,
        ms=table.number("ms", 0.001, 1e6) if table.has("ms") else None,
        reference=table.choice("reference", REFERENCES, "onnxruntime"),
        percentile=table.number("percentile", 1.0, 99.0, 50.0),
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
        finalists=table.integer("finalists", 1, 100, default.finalists),
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
        gate_steps=table.integer("gate_steps", 0, 1_000_000, default.gate_steps),
        tune_steps=table.integer("tune_steps", 0, 1_000_000, default.tune_steps),
        stages=table.integer("stages", 1, 16, default.stages),
        weight_rate=table.number("weight_rate", 1e-8, 1.0, default.weight_rate),
        products=table.choice("products", PRECISIONS, default.products),
    )
    if plan.stages > 1 and plan.gate_steps:
        raise table.error("stages", "1 beside gate_steps: zeros come in stages or are trained", plan.stages)
    table.done()
    return plan
