"""What ``bench`` measures at one size: a job for each engine, or the reason why an engine cannot take part."""

import argparse
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

from torch.export import ExportedProgram

from l0compile.cli.models.example import Example, compiled, load_example
from l0compile.cli.models.inputs import example_call
from l0compile.cli.options import dynamic_shapes
from l0compile.errors import CaptureError, ConfigError, MissingDependency
from l0compile.measurement import ENGINES, Workload, export_onnx
from l0compile.runtime.artifact import check_host, read_manifest, target_of

DENSE = ("pytorch", "onnxruntime", "openvino")
_READ_ONNX = ("onnxruntime", "openvino", "openvino-bf16")
# The others need a file that is quantised with calibration data, which a search has and a command line has not.
_OFFERED = tuple(engine for engine in ENGINES if not engine.endswith("-int8"))

EngineJobs = tuple[dict[str, tuple[str, Workload]], dict[str, str]]
"""Jobs by engine, as ``measure_engines`` takes them, and reasons by engine that cannot take part."""

Jobs = Callable[[Mapping[str, int]], EngineJobs]
"""Makes the jobs at given sizes."""


def saved_jobs(args: argparse.Namespace) -> Jobs:
    """Return the jobs of a saved model; their sizes are those of its dynamic dimensions.

    Raises:
        ConfigError: ``--engines`` names another engine than ours.
        ArtifactError: It is no saved model, or this machine cannot run it.
    """
    if args.engines not in (None, ["l0compile"]):
        raise ConfigError(
            "--engines: a saved model runs on l0compile only; give MODULE:FUNCTION to compare engines"
        )
    check_host(target_of(read_manifest(args.model), args.model), args.model)

    def jobs(sizes: Mapping[str, int]) -> EngineJobs:
        example_call(
            args.model, sizes
        )  # raises here if a size is missing: that is not a failure of the engine
        made = {"path": args.model, "sizes": dict(sizes)}
        job = Workload("l0compile.cli.models.inputs:measured", made, artifact=args.model)
        return {"l0compile": ("l0compile", job)}, {}

    return jobs


def made_jobs(args: argparse.Namespace, folder: Path) -> Jobs:
    """Return the jobs of a user's model, which is compiled anew for each size, or once with ``--dynamic``.

    Args:
        args: The command line.
        folder: Where exported and compiled models go.

    Raises:
        ConfigError: ``--engines`` names an engine that does not exist.
        L0CompileError: The model could not be made or compiled.
    """
    engines = args.engines or [*DENSE, "l0compile"]
    if unknown := [engine for engine in engines if engine not in _OFFERED]:
        raise ConfigError(f"--engines: expected some of {', '.join(_OFFERED)}, got {unknown[0]!r}")
    count, built = itertools.count(), dict[str, tuple[str | None, str | None, dict[str, str]]]()

    def jobs(sizes: Mapping[str, int]) -> EngineJobs:
        key = "" if args.dynamic else str(dict(sizes))
        if key not in built:
            example = load_example(args.model, sizes, args.dynamic)
            built[key] = _build(args, example, engines, folder / str(next(count)))
        onnx, artifact, failures = built[key]
        made = {"name": args.model, "sizes": dict(sizes), "dynamic": args.dynamic}
        job = Workload("l0compile.cli.models.example:measured", made, onnx_path=onnx, artifact=artifact)
        return {engine: (engine, job) for engine in engines if engine not in failures}, failures

    return jobs


def _build(
    args: argparse.Namespace, example: Example, engines: list[str], folder: Path
) -> tuple[str | None, str | None, dict[str, str]]:
    """Return ONNX file, saved model, and failures by engine; a file is None where no engine reads it."""
    folder.mkdir()
    onnx, artifact, failures = None, None, dict[str, str]()
    if set(_READ_ONNX) & set(engines):
        shapes = None if isinstance(example.model, ExportedProgram) else dynamic_shapes(args.dynamic)
        try:
            file = folder / "m.onnx"
            onnx = str(
                export_onnx(example.model, example.args, file, kwargs=example.kwargs, dynamic_shapes=shapes)
            )
        except (CaptureError, MissingDependency) as error:
            failures = {engine: str(error) for engine in engines if engine in _READ_ONNX}
    if "l0compile" in engines:
        artifact = str(folder / "model")
        compiled(args, example).save(artifact)
    return onnx, artifact, failures
