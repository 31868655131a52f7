"""``l0compile bench``: measure one model on several engines, each in its own process, at one size or many."""

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from l0compile.cli.bench_jobs import Jobs, made_jobs, saved_jobs
from l0compile.cli.models.kinds import SAVED, kind_of
from l0compile.cli.options import sweep
from l0compile.cli.output import print_json, print_rich
from l0compile.cli.parser.measuring import SWEPT
from l0compile.errors import ConfigError
from l0compile.hardware.targets import read_host
from l0compile.measurement import Measurement, Protocol, measure_engines, ratio
from l0compile.report.plots.sweep import PLOTS, SweepPoint, sweep_plot, sweep_table


def run(args: argparse.Namespace) -> int:
    """Measure and print; return 1 if nothing could be measured."""
    plot = None if args.plot is None else Path(args.plot)
    if plot is not None and plot.suffix not in PLOTS:
        raise ConfigError(f"--plot: expected a name ending in {', '.join(PLOTS)}, got {plot.name!r}")
    short = [f"{name}={getattr(args, name)}" for name in SWEPT if getattr(args, name)]
    protocol = Protocol.quick() if args.quick else Protocol()
    protocol = dataclasses.replace(protocol, percentile=args.percentile)
    with tempfile.TemporaryDirectory(prefix="l0compile-") as folder:
        jobs = saved_jobs(args) if kind_of(args.model) == SAVED else made_jobs(args, Path(folder))
        points = [_measured(size, jobs, protocol, args.threads) for size in sweep([*args.size, *short])]
    if plot is not None:
        plot.write_bytes(sweep_plot(args.model, points, plot.suffix))
    if args.json:
        print_json(_facts(args.model, points))
    elif len(points) > 1:
        print_rich(sweep_table(args.model, points, args.percentile))
    else:
        print_rich(_table(args.model, points[0].results, args.percentile))
    return 0 if any(result.ok for point in points for result in point.results.values()) else 1


def _measured(size: dict[str, int], jobs: Jobs, protocol: Protocol, threads: int | None) -> SweepPoint:
    found, failures = jobs(size)
    results = measure_engines(found, protocol, threads) if found else {}
    results |= {engine: Measurement.failed(reason, protocol) for engine, reason in failures.items()}
    return SweepPoint(size, results)


def _facts(model: str, points: Sequence[SweepPoint]) -> dict[str, Any]:
    """Return one point as ``results``, or several as ``points``, each with its sizes."""
    measured = [
        {
            "sizes": point.sizes,
            "results": {engine: found.to_dict() for engine, found in point.results.items()},
        }
        for point in points
    ]
    facts = {"model": model, "machine": read_host().fingerprint()}
    return facts | (measured[0] if len(points) == 1 else {"points": measured})


def _table(title: str, results: Mapping[str, Measurement], percentile: float) -> object:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    dense = {engine: result for engine, result in results.items() if result.ok and engine != "l0compile"}
    best = min(dense, key=lambda engine: dense[engine].median_ms, default=None)
    latency = "latency, ms" if percentile == 50 else f"percentile {percentile:g}, ms"
    for name in ("engine", latency, "95 % interval", f"speed-up over {best}" if best else "speed-up"):
        table.add_column(name, justify="left" if name == "engine" else "right")
    for engine, result in results.items():
        if not result.ok:
            table.add_row(engine, "–", escape(str(result.error)), "–")
            continue
        speedup = "–"
        if best is not None:
            times = ratio(results[best], result, paired=True)
            speedup = f"{times.value:.2f}× [{times.low:.2f}, {times.high:.2f}]"
        interval = f"{result.low_ms:.3f} to {result.high_ms:.3f}" + (" (noisy)" if result.noisy else "")
        table.add_row(engine, f"{result.median_ms:.3f}", interval, speedup)
    return table
