"""``l0compile bench``: one model on several engines, each in its own process."""

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import save_file

from l0compile.artifact import check_host, read_manifest, restore_target
from l0compile.cli.factory import is_artifact, make
from l0compile.cli.inputs import example_call
from l0compile.cli.options import compiled, dynamic_shapes, sizes
from l0compile.cli.output import print_json, print_rich
from l0compile.errors import CaptureError, ConfigError, MissingDependency
from l0compile.measure import ENGINES, Measurement, Protocol, Workload, export_onnx, measure_engines, ratio
from l0compile.targets import read_host

DENSE = ("pytorch", "onnxruntime", "openvino")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 when nothing could be measured."""
    protocol = Protocol.quick() if args.quick else Protocol()
    protocol = dataclasses.replace(protocol, percentile=args.percentile)
    with _jobs(args) as (jobs, failures):
        results = measure_engines(jobs, protocol, args.threads) if jobs else {}
    results |= {engine: Measurement.failed(reason, protocol) for engine, reason in failures.items()}
    if args.json:
        measured = {engine: result.to_dict() for engine, result in results.items()}
        print_json({"model": args.model, "machine": read_host().fingerprint(), "results": measured})
    else:
        print_rich(_table(args.model, results, args.percentile))
    return 0 if any(result.ok for result in results.values()) else 1


@contextlib.contextmanager
def _jobs(args: argparse.Namespace) -> Iterator[tuple[dict[str, tuple[str, Workload]], dict[str, str]]]:
    """Jobs by engine, and for engines that cannot take part the reason; files they need live as long as the block."""
    with tempfile.TemporaryDirectory(prefix="l0compile-") as folder:
        yield _saved(args, Path(folder)) if is_artifact(args.model) else _made(args, Path(folder))


def _saved(args: argparse.Namespace, folder: Path) -> tuple[dict[str, tuple[str, Workload]], dict[str, str]]:
    if args.engines not in (None, ["l0compile"]):
        raise ConfigError(
            "--engines: a saved model runs on l0compile only; give MODULE:FUNCTION to compare engines"
        )
    check_host(restore_target(read_manifest(args.model)["target"], args.model), args.model)
    wanted = sizes(args.size)
    positional, named = example_call(args.model, wanted)
    if positional and named:
        raise ConfigError(
            f"{args.model}: takes inputs by position and by name; measure MODULE:FUNCTION instead"
        )
    if named:
        save_file(named, folder / "inputs.safetensors")
        job = Workload(artifact=args.model, inputs_path=str(folder / "inputs.safetensors"))
    else:
        made = {"path": args.model, "sizes": wanted}
        job = Workload(factory="l0compile.cli.inputs:positional", factory_kwargs=made, artifact=args.model)
    return {"l0compile": ("l0compile", job)}, {}


def _made(args: argparse.Namespace, folder: Path) -> tuple[dict[str, tuple[str, Workload]], dict[str, str]]:
    engines = args.engines or [*DENSE, "l0compile"]
    unknown = [engine for engine in engines if engine not in ENGINES]
    if unknown:
        raise ConfigError(f"--engines: expected some of {', '.join(ENGINES)}, got {unknown[0]!r}")
    if args.size:
        raise ConfigError("--size: is for saved models; a function returns its own inputs")
    onnx = artifact = None
    failures: dict[str, str] = {}
    if {"onnxruntime", "openvino"} & set(engines):
        try:
            model, inputs = make(args.model)
            onnx = str(
                export_onnx(model, inputs, folder / "m.onnx", dynamic_shapes=dynamic_shapes(args.dynamic))
            )
        except (CaptureError, MissingDependency) as error:
            failures = {engine: str(error) for engine in engines if engine in ("onnxruntime", "openvino")}
    if "l0compile" in engines:
        artifact = str(folder / "model")
        compiled(args).save(artifact)
    job = Workload("l0compile.cli.factory:make", {"name": args.model}, onnx_path=onnx, artifact=artifact)
    return {engine: (engine, job) for engine in engines if engine not in failures}, failures


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
