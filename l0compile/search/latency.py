"""Latency of dense engines and of candidates, each in a process of its own, against the budget."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l0compile.api import compile as compile_model
from l0compile.errors import ConfigError, L0CompileError
from l0compile.measure import Measurement, Protocol, Workload, export_onnx, measure_engines, ratio
from l0compile.runtime import CompiledModel
from l0compile.search.progress import Progress
from l0compile.search.space import Space
from l0compile.targets import Target
from l0compile.tasks import Task

PYTORCH, DENSE, CHOSEN = "dense PyTorch", "dense l0compile", "chosen l0compile"
_READ_ONNX = {"onnxruntime": "dense ONNX Runtime", "openvino": "dense OpenVINO"}
ROW_OF = {"pytorch": PYTORCH, "l0compile": DENSE, **_READ_ONNX}
Job = tuple[str, Workload]
# Engines are compared so often at most, until intervals of those that matter are within this share of the median.
_TURNS, _QUIET = 3, 0.1


@dataclass(frozen=True)
class Bench:
    """Where a task's latency is measured: `folder` holds the inputs, the ONNX file and models compiled for `target`.

    device: ``rpc://HOST:PORT/KEY`` of where compiled models run, instead of here. percentile: of calls that counts.
    """

    task: Task
    folder: Path
    target: Target | str = "native"
    device: str | None = None
    percentile: float = 50.0

    def timed(self, protocol: Protocol) -> Protocol:
        """``protocol`` with this percentile."""
        return dataclasses.replace(protocol, percentile=self.percentile)

    def prepare(self) -> None:
        """Write the example inputs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {str(place): tensor.contiguous() for place, tensor in enumerate(self.task.example())}
        save_file(tensors, self._inputs)

    def build(self, model: nn.Module, name: str, *, dynamic: bool = True) -> CompiledModel:
        """Compile a hardened (or dense) model, check that it computes the same, and save it as `folder`/`name`.

        `dynamic`: for all sizes that the task wants; otherwise for those of the example only, which compiles sooner.
        """
        shapes = self.task.dynamic_shapes() if dynamic else None
        compiled = compile_model(
            model, self.task.example(), dynamic_shapes=shapes, engine="tvm", target=self.target
        )
        compiled.save(self.folder / name)
        return compiled

    def job(self, artifact: Path) -> Job:
        """The job of timing a compiled model."""
        # Not the task's factory: a candidate's process need not load the dense model to know the inputs.
        inputs = {"path": str(self._inputs)}
        factory = f"{__name__}:saved_inputs"
        return "l0compile", Workload(factory, inputs, artifact=str(artifact), device=self.device)

    def dense_jobs(self) -> tuple[dict[str, Job], dict[str, str]]:
        """Jobs for the dense engines by row name, and the reason for each that can't take part."""
        jobs, failures = self._other_engines() if self.device is None else ({}, _not_there())
        try:
            self.build(self.task.dense(), "dense")
            jobs[DENSE] = self.job(self.folder / "dense")
        except L0CompileError as error:
            failures[DENSE] = str(error)
        return jobs, failures

    def _other_engines(self) -> tuple[dict[str, Job], dict[str, str]]:
        jobs: dict[str, Job] = {}
        failures: dict[str, str] = {}
        made = self.task.workload()
        if made is None:
            failures[PYTORCH] = "another process cannot make the model: it has no factory"
        else:
            jobs[PYTORCH] = ("pytorch", Workload(*made))
        factory, arguments = made or (f"{__name__}:saved_inputs", {"path": str(self._inputs)})
        try:
            onnx = self.folder / "dense.onnx"
            if not onnx.exists():
                export_onnx(self.task.dense(), self.task.example(), onnx)
            jobs |= {
                row: (engine, Workload(factory, arguments, onnx_path=str(onnx)))
                for engine, row in _READ_ONNX.items()
            }
        except L0CompileError as error:
            failures |= dict.fromkeys(_READ_ONNX.values(), str(error))
        return jobs, failures

    @property
    def trainings(self) -> Path:
        """The folder where the trainings of the chosen model are kept until it is there."""
        return self.folder / "trainings"

    @property
    def _inputs(self) -> Path:
        return self.folder / "inputs.safetensors"


@dataclass(frozen=True)
class Budgeted:
    """A latency budget on this machine.

    `ms` milliseconds, or `ratio` times what `reference` takes at that time.
    """

    ms: float
    ratio: float | None = None
    reference: Job | None = None

    def scaled(self, found: Measurement, beside: Mapping[str, Measurement]) -> float:
        """``found`` in milliseconds on the scale of the budget: by its ratio to the reference measured beside it."""
        if self.ratio is None or self.reference is None:
            return found.median_ms
        reference = beside[ROW_OF[self.reference[0]]]
        return self.ms / self.ratio / ratio(reference, found, paired=True).value

    def measure(self, bench: Bench, name: str) -> tuple[Measurement, float]:
        """Latency of the model saved as `name`, and that over the budget (NaN if it failed).

        A relative budget is checked side by side with its reference, block by block: the machine may have become
        slower or faster since the reference was measured first.
        """
        jobs = {"candidate": bench.job(bench.folder / name)}
        protocol = bench.timed(Protocol.careful())
        if self.ratio is None or self.reference is None:
            found = measure_engines(jobs, protocol)["candidate"]
            return found, found.median_ms / self.ms
        both = measure_engines({**jobs, "reference": self.reference}, protocol)
        found, reference = both["candidate"], both["reference"]
        if not (found.ok and reference.ok):
            return found, found.median_ms / self.ms
        return found, 1.0 / (ratio(reference, found, paired=True).value * self.ratio)


def _not_there() -> dict[str, str]:
    reason = "a device behind TVM's RPC runs compiled models only"
    return dict.fromkeys((PYTORCH, *_READ_ONNX.values()), reason)


def compare(
    jobs: Mapping[str, Job], failures: Mapping[str, str], protocol: Protocol
) -> dict[str, Measurement]:
    """Measure all jobs side by side; those that can't take part are failed measurements."""
    return measure_engines(jobs, protocol) | {
        name: Measurement.failed(reason, protocol) for name, reason in failures.items()
    }


def compare_quietly(
    jobs: Mapping[str, Job],
    failures: Mapping[str, str],
    protocol: Protocol,
    watched: Sequence[str],
    progress: Progress,
) -> dict[str, Measurement]:
    """As ``compare``; again where something else disturbed one of those watched, up to twice.

    Of the comparisons the one is taken in which fewest of these failed, and of such the one in which their widest
    interval is least.
    """

    def width(found: Mapping[str, Measurement]) -> float:
        each = [found[name] for name in watched if found[name].ok]
        return max(((one.high_ms - one.low_ms) / one.median_ms for one in each), default=0.0)

    found = [compare(jobs, failures, protocol)]
    while len(found) < _TURNS and width(found[-1]) > _QUIET:
        progress.note("  something else uses this machine: measuring again")
        found.append(compare(jobs, failures, protocol))
    return min(found, key=lambda one: (sum(not one[name].ok for name in watched), width(one)))


def budget_of(space: Space, measured: Mapping[str, Measurement], jobs: Mapping[str, Job]) -> Budgeted:
    """The latency budget, given dense measurements; under a floor of quality what the compiled dense model takes.

    Raises ConfigError if the reference could not be measured.
    """
    latency = space.latency
    if space.quality is not None and measured[DENSE].ok:
        return Budgeted(measured[DENSE].median_ms, 1.0, jobs[DENSE])
    if latency.ms is not None:
        return Budgeted(latency.ms)
    name = ROW_OF[latency.reference]
    reference = measured[name]
    if not reference.ok:
        raise ConfigError(
            f"{space.name}: latency.reference: {latency.reference!r} could not be measured ({reference.error}); "
            'install it (pip install "l0compile[bench]"), or set latency.ms, or reference = "l0compile", the compiled '
            "dense model"
        )
    return Budgeted(latency.in_ms(reference.median_ms), latency.ratio, jobs[name])


def saved_inputs(path: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A model factory for the timing process that only knows the inputs."""
    tensors = load_file(path)
    return nn.Identity(), tuple(tensors[str(place)] for place in range(len(tensors)))
