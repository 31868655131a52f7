"""``l0compile tune``: measure kernels on this machine; keep, merge and export their times."""

import argparse
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from l0compile.cli.models.example import load_example
from l0compile.cli.models.kinds import is_shape
from l0compile.cli.options import dynamic_shapes, sizes
from l0compile.cli.output import print_json, print_lines
from l0compile.errors import ConfigError
from l0compile.hardware.costs import Database, KernelWorkload, default_path, read_records, write_records
from l0compile.hardware.costs.record import DENSITIES
from l0compile.hardware.targets import Target
from l0compile.measurement.device import device_and_target
from l0compile.measurement.tune import (
    TuningPlan,
    TuningProgress,
    in_precisions,
    model_workloads,
    pruned,
    shape_workloads,
    tune,
)


def run(args: argparse.Namespace) -> int:
    """Merge, then measure, then export: in this order one command can do all three."""
    if not (args.what or args.merge or args.export):
        raise ConfigError("tune: nothing to do; give a model, shapes such as 3072x768, --merge or --export")
    path = Path(args.db) if args.db else default_path()
    if path is None:
        raise ConfigError("tune: L0COMPILE_COSTS is off; give --db FILE, or set it to a file")
    with Database(path) as database:
        merged = sum(database.add(read_records(file)) for file in args.merge)
        device, target = device_and_target(args.target)
        works = _works(args, target)
        before = len(database)
        measured = _measure(works, args, database, target, device) if works else 0
        exported = write_records(args.export, database.records()) if args.export else None
        total = len(database)
    facts = {
        "database": str(path),
        "merged": merged,
        "measured": measured,
        "works": len(works),
        "records": total,
    }
    if args.json:
        print_json(facts | {"new": total - before, "exported": exported})
        return 0
    lines = [f"{name:9} {value}" for name, value in facts.items()]
    print_lines("\n".join([*lines, *([f"exported  {exported} to {args.export}"] if args.export else [])]))
    return 0


def _works(args: argparse.Namespace, target: Target) -> tuple[KernelWorkload, ...]:
    shapes = [text for text in args.what if is_shape(text)]
    found = list(shape_workloads(shapes, args.tokens or [128]))
    for text in args.what:
        if text not in shapes:
            example = load_example(text, sizes(args.size), args.dynamic)
            dims = dynamic_shapes(args.dynamic)
            found += model_workloads(example.model, example.args, target, dims, example.kwargs)
    found = list(in_precisions(found, args.precision))
    return pruned(found, [_block(text) for text in args.blocks], args.densities or DENSITIES[1:5])


def _measure(
    works: tuple[KernelWorkload, ...],
    args: argparse.Namespace,
    database: Database,
    target: Target,
    device: str | None,
) -> int:
    plan = TuningPlan(schedules=1) if args.quick else TuningPlan()
    with _bar(args.json) as told:
        return tune(works, target, database, plan, told, device=device)


@contextlib.contextmanager
def _bar(silent: bool) -> Iterator[Callable[[TuningProgress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), disable=silent) as bar:
        task: Any = bar.add_task("looking", total=None)
        yield lambda step: bar.update(task, description=step.phase, completed=step.done, total=step.total)


def _block(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise ConfigError(f"--blocks: expected ROWSxCOLS such as 4x1, got {text!r}")
    return int(match[1]), int(match[2])
