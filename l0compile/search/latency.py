"""Latency of dense engines and of candidates, each in a process of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l0compile.api import compile as compile_model
from l0compile.errors import ConfigError, L0CompileError
from l0compile.measure import Measurement, Protocol, Workload, export_onnx, measure_engine, measure_engines
from l0compile.runtime import CompiledModel
from l0compile.search.space import LatencyBudget
from l0compile.tasks import Task

PYTORCH, ONNX, DENSE, CHOSEN = "dense PyTorch", "dense ONNX Runtime", "dense l0compile", "chosen l0compile"
ROW_OF = {"pytorch": PYTORCH, "onnxruntime": ONNX}


@dataclass(frozen=True)
class Bench:
    """Where a task's latency is measured: `folder` holds the inputs, the ONNX file and compiled models."""

    task: Task
    folder: Path

    def prepare(self) -> None:
        """Write the example inputs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {str(place): tensor.contiguous() for place, tensor in enumerate(self.task.example())}
        save_file(tensors, self._inputs)

    def build(self, model: nn.Module, name: str) -> CompiledModel:
        """Compile a hardened (or dense) model, check that it computes the same, and save it as `folder`/`name`."""
        compiled = compile_model(model, self.task.example(), dynamic_shapes=self.task.dynamic_shapes())
        compiled.save(self.folder / name)
        return compiled

    def measure(self, name: str, protocol: Protocol) -> Measurement:
        """Latency of the model saved as `folder`/`name`."""
        return measure_engine("l0compile", self._artifact(self.folder / name), protocol)

    def dense_jobs(self) -> tuple[dict[str, tuple[str, Workload]], dict[str, str]]:
        """Jobs for the dense engines by row name, and the reason for each that can't take part."""
        factory, arguments = self.task.workload()
        jobs = {PYTORCH: ("pytorch", Workload(factory, arguments))}
        failures: dict[str, str] = {}
        try:
            onnx = self.folder / "dense.onnx"
            if not onnx.exists():
                export_onnx(self.task.dense(), self.task.example(), onnx)
            jobs[ONNX] = ("onnxruntime", Workload(factory, arguments, onnx_path=str(onnx)))
        except L0CompileError as error:
            failures[ONNX] = str(error)
        try:
            self.build(self.task.dense(), "dense")
            jobs[DENSE] = ("l0compile", self._artifact(self.folder / "dense"))
        except L0CompileError as error:
            failures[DENSE] = str(error)
        return jobs, failures

    def compare(
        self, jobs: Mapping[str, tuple[str, Workload]], failures: Mapping[str, str], protocol: Protocol
    ) -> dict[str, Measurement]:
        """Measure all jobs side by side; those that can't take part are failed measurements."""
        failed = {name: Measurement.failed(reason, protocol) for name, reason in failures.items()}
        return measure_engines(jobs, protocol) | failed

    def job(self, artifact: Path) -> tuple[str, Workload]:
        """A job for a compiled model saved anywhere."""
        return "l0compile", self._artifact(artifact)

    @property
    def _inputs(self) -> Path:
        return self.folder / "inputs.safetensors"

    def _artifact(self, path: Path) -> Workload:
        # Not the task's factory: a candidate's process need not load the dense model to know the inputs.
        return Workload(f"{__name__}:saved_inputs", {"path": str(self._inputs)}, artifact=str(path))


def saved_inputs(path: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A model factory for the timing process that only knows the inputs."""
    tensors = load_file(path)
    return nn.Identity(), tuple(tensors[str(place)] for place in range(len(tensors)))


def budget_of(latency: LatencyBudget, measured: Mapping[str, Measurement], where: str) -> float:
    """The latency budget in ms. Raises ConfigError if its reference engine could not be measured."""
    reference = measured.get(ROW_OF[latency.reference])
    if latency.ms is not None:
        return latency.ms
    if reference is None or not reference.ok:
        reason = reference.error if reference else "it was not measured"
        raise ConfigError(
            f"{where}: latency.reference: {latency.reference!r} could not be measured ({reason}); "
            'install it, or set latency.ms, or reference = "pytorch"'
        )
    return latency.in_ms(reference.median_ms)
