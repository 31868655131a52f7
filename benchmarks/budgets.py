"""Claim: a search meets the latency it is asked for. MiniLM, one sentence of 128 tokens, without training.

    python benchmarks/budgets.py [--fractions 0.87 0.58 ...] [--folder KEEP] [--text FOLDER]

A budget is a fraction of the time of the dense compiled model. The two are measured in turns, in processes of their
own, because the machine may become slower in between. For each budget a plan is made, compiled and measured until it
fits. Then all are measured once more, or several times if something else disturbs it, and this last measurement is
reported. Wanted: at most 3 % above a budget, at most 10 % below. Appends to ``benchmarks/results/budgets.jsonl``.
"""

import argparse
import tempfile
from pathlib import Path

from harness import record, searching

from l0compile.measurement import Protocol, measure_engines, ratio
from l0compile.studies.bench.bench import FINAL, Bench
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.fit.fit import Fitter
from l0compile.studies.space.candidate import Choices
from l0compile.studies.study.progress import RichProgress

# 6, 4, 3, 2 and 1.5 ms where the dense model takes 6.9.
FRACTIONS = (0.87, 0.58, 0.435, 0.29, 0.217)


def main() -> None:
    """Fit all budgets, measure all models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fractions", nargs="+", type=float, default=FRACTIONS)
    parser.add_argument(
        "--folder", type=Path, help="where to keep candidates and models; default: a temporary one"
    )
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for row in measured(folder, options.text, options.fractions):
            record.append("budgets", row)


def measured(folder: Path, text: Path | None, fractions: list[float]) -> list[dict[str, object]]:
    """Make a row for each fraction."""
    space, task = searching.space_and_task(text)
    found, _ = searching.evaluator(space, task, folder)
    bench = Bench(task, folder)
    bench.prepare()
    bench.build(task.dense(), "dense", dynamic=False)
    dense = bench.job(folder / "dense")
    dense_ms = measure_engines({"dense": dense}, Protocol())["dense"].median_ms
    fitter = Fitter(found, bench, DeviceBudget(dense_ms, 1.0, dense), [(found.menu.dense_ms, dense_ms)])
    jobs, rows = {"dense": dense}, []
    for fraction in fractions:
        before = len(fitter.points)
        fitted = fitter.fit(Choices(), fraction * dense_ms)
        bench.build(found.realised(fitted.allocation), f"fitted-{fraction}", dynamic=False)
        jobs[str(fraction)] = bench.job(folder / f"fitted-{fraction}")
        rows.append(
            {"fraction": fraction, "load": fitted.load / fraction, "rounds": len(fitter.points) - before}
        )
        print(rows[-1], flush=True)
    with RichProgress(600.0) as progress:
        final = bench.compare(jobs, {}, Protocol(), tuple(jobs), width=FINAL, told=progress.note)
    bench.stopwatch.close()
    for row in rows:
        found_ratio = ratio(final["dense"], final[str(row["fraction"])], paired=True)
        low, middle, high = (1 / x for x in (found_ratio.high, found_ratio.value, found_ratio.low))
        row["measured_over_budget"] = [round(x / float(str(row["fraction"])), 4) for x in (middle, low, high)]
        row["ms"] = round(final[str(row["fraction"])].median_ms, 3)
    return rows


if __name__ == "__main__":
    main()
