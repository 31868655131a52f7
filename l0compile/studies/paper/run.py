"""The whole of a paper run: sweep, then summarise."""

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from l0compile import __version__
from l0compile.errors import DataError
from l0compile.hardware.targets import read_host
from l0compile.ir.codec import encode
from l0compile.studies.paper.plan import PaperPlan
from l0compile.studies.paper.result import PAPER, Paper, summarise
from l0compile.studies.paper.sweep import CELLS, sweep


def run_paper(
    plan: PaperPlan, out: Path, told: Callable[[str], None] = lambda _: None, *, processes: int | None = None
) -> Paper:
    """Run whatever is missing in ``out``, and summarise everything.

    Args:
        plan: what to sweep.
        out: the folder; a run that was interrupted goes on with what is there.
        told: hears of each step.
        processes: how many train side by side; default: one for each core.

    Returns:
        What was found, also in ``paper.json``.

    Raises:
        DataError: no series can run here; or ``out`` holds another plan's models.
    """
    begun = time.monotonic()
    claim(plan, out)
    missing = sweep(plan, out, told, processes)
    ready = [series for series in plan.series if series.name not in missing]
    if not ready:
        raise DataError(f"paper: none of the series can run here: {'; '.join(missing.values())}")
    tables = tuple(summarise(plan, series, out / CELLS) for series in ready)
    host = read_host()
    facts = {
        "machine": f"{host.model}, {host.cores} cores",
        "versions": f"l0compile {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}",
        "this run": f"{(time.monotonic() - begun) / 60:.1f} min",
        "models": str(len(ready) * plan.seeds * (1 + len(plan.fractions))),
    }
    paper = Paper(tables, plan.seeds, plan.shorten, missing, facts)
    paper.save(out / PAPER)
    return paper


def claim(plan: PaperPlan, out: Path) -> None:
    """Note in ``out`` how its models are trained, so that models of a quick run never pass for those of a whole one.

    Raises:
        DataError: ``out`` holds models that were trained otherwise.
    """
    file = out / "plan.json"
    wanted = {
        series.name: {"shorten": plan.shorten, "options": encode(series.options)} for series in plan.series
    }
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    wanted = json.loads(json.dumps(wanted))
    if other := [name for name, how in wanted.items() if known.get(name, how) != how]:
        raise DataError(
            f"paper: {out} holds models of {', '.join(other)} that were trained otherwise, as by --quick; choose "
            "another --out, or delete it"
        )
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known | wanted, indent=1) + "\n", encoding="utf-8")
