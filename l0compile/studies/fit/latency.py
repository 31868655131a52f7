"""Latency of dense engines and of candidates, each in a process of its own, against the budget."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l0compile.compiler.compile import compile as compile_model
from l0compile.errors import L0CompileError
from l0compile.hardware.targets import Target
from l0compile.measurement import Measurement, Protocol, Stopwatch, Workload, export_onnx, ratio
from l0compile.runtime import CompiledModel
from l0compile.studies.space.space import REFERENCES
from l0compile.studies.study.progress import Progress
from l0compile.tasks import Task

PYTORCH, DENSE, CHOSEN = "dense PyTorch", "dense l0compile", "chosen l0compile"
READ_ONNX = {"onnxruntime": "dense ONNX Runtime", "openvino": "dense OpenVINO"}
ROW_OF = {"pytorch": PYTORCH, "l0compile": DENSE, **READ_ONNX}
Job = tuple[str, Workload]
# A comparison has so many blocks at least, and ends when the intervals of the ratios that matter are that narrow.
_MIN_BLOCKS = 6
ROUGH, CLOSE, FINAL = 0.06, 0.03, 0.02


@dataclass
class Bench:
    """Where a task's latency is measured: `folder` holds the inputs, the ONNX file and models compiled for `target`.

    device: ``rpc://HOST:PORT/KEY`` of where compiled models run, instead of here. percentile: of calls that counts.
    stopwatch: the processes that time them. build_s: what compiling the dense model took.
    """

    task: Task
    folder: Path
    target: Target | str = "native"
    device: str | None = None
    percentile: float = 50.0
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    build_s: float = 0.0
    _candidates: int = 0

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

    def candidate(self, model: nn.Module) -> Path:
        """A model compiled for the example's sizes, under a name that no other one had: processes that time models
        read each path once."""
        self._candidates += 1
        self.build(model, name := f"candidate-{self._candidates}", dynamic=False)
        return self.folder / name

    def forget(self, artifact: Path) -> None:
        """Delete a model that has been measured."""
        shutil.rmtree(artifact, ignore_errors=True)

    def dense_jobs(self, engines: Collection[str] = REFERENCES) -> tuple[dict[str, Job], dict[str, str]]:
        """Jobs for dense engines, as a space names them, by row, and the reason for each that can't take part."""
        jobs, failures = self._other_engines(engines) if self.device is None else ({}, _not_there(engines))
        if "l0compile" in engines:
            try:
                begun = time.monotonic()
                if not (self.folder / "dense").exists():
                    self.build(self.task.dense(), "dense")
                    self.build_s = time.monotonic() - begun
                jobs[DENSE] = self.job(self.folder / "dense")
            except L0CompileError as error:
                failures[DENSE] = str(error)
        return jobs, failures

    def _other_engines(self, engines: Collection[str]) -> tuple[dict[str, Job], dict[str, str]]:
        jobs: dict[str, Job] = {}
        failures: dict[str, str] = {}
        made = self.task.workload()
        if "pytorch" in engines and made is None:
            failures[PYTORCH] = "another process cannot make the model: it has no factory"
        elif "pytorch" in engines and made is not None:
            jobs[PYTORCH] = ("pytorch", Workload(*made))
        factory, arguments = made or (f"{__name__}:saved_inputs", {"path": str(self._inputs)})
        reading = {engine: row for engine, row in READ_ONNX.items() if engine in engines}
        try:
            onnx = self.folder / "dense.onnx"
            if reading and not onnx.exists():
                export_onnx(self.task.dense(), self.task.example(), onnx)
            jobs |= {
                row: (engine, Workload(factory, arguments, onnx_path=str(onnx)))
                for engine, row in reading.items()
            }
        except L0CompileError as error:
            failures |= dict.fromkeys(reading.values(), str(error))
        return jobs, failures

    def compare(
        self,
        jobs: Mapping[str, Job],
        failures: Mapping[str, str],
        protocol: Protocol,
        watched: Sequence[str],
        *,
        width: float,
        until: float | None = None,
        turns: int = 3,
        decided: Callable[[Mapping[str, Measurement]], bool] = lambda found: False,
        progress: Progress | None = None,
    ) -> dict[str, Measurement]:
        """Measure all jobs side by side; those that can't take part are failed measurements.

        It ends when the ratios of those ``watched`` are known within intervals that are ``width`` of them wide, at
        ``until``, after ``turns`` times the blocks of the protocol, or when what was measured has ``decided``.
        """
        told = False

        def enough(found: Mapping[str, Measurement]) -> bool:
            nonlocal told
            blocks = len(next(iter(found.values())).calls)
            if blocks < min(_MIN_BLOCKS, protocol.blocks):
                return False
            if _width(found, watched) <= width or decided(found):
                return True
            if blocks >= protocol.blocks and turns > 1 and not told and progress is not None:
                told = True
                progress.note("  something else uses this machine: measuring for longer")
            return False

        # Devices are timed one after another, for as long as the protocol says.
        longest = dataclasses.replace(protocol, blocks=(1 if self.device else turns) * protocol.blocks)
        found = self.stopwatch.measure(jobs, longest, enough=enough, until=until)
        return found | {name: Measurement.failed(reason, protocol) for name, reason in failures.items()}

    def final_seconds(self, engines: int, quality_s: float) -> float:
        """About what it takes to compile the chosen model, and to compare it with so many engines."""
        missing = max(0, engines + 1 - self.stopwatch.running)
        written = (self.folder / "dense.onnx").exists() or self.device is not None
        export_s = 0.0 if written else max(_EXPORT_S, self.build_s)
        protocol = Protocol()
        each = _PAUSES * (protocol.block_s + protocol.settle_s) * _MIN_BLOCKS
        starts_s = missing * self.stopwatch.start_seconds()
        return 1.2 * self.build_s + export_s + starts_s + (engines + 1) * each + 3 * quality_s

    @property
    def trainings(self) -> Path:
        """The folder where the trainings of the chosen model are kept until it is there."""
        return self.folder / "trainings"

    @property
    def _inputs(self) -> Path:
        return self.folder / "inputs.safetensors"


def _width(found: Mapping[str, Measurement], watched: Sequence[str]) -> float:
    """The widest interval over its value: of the ratios of those watched to the first of them."""
    there = [found[name] for name in watched if name in found and found[name].ok]
    if len(there) < 2:
        return max(((one.high_ms - one.low_ms) / one.median_ms for one in there), default=0.0)
    ratios = [ratio(there[0], other, paired=True) for other in there[1:]]
    return max((each.high - each.low) / each.value for each in ratios)


# What a block of an engine takes with the pause before it and its warm-up, over the time of its calls.
_PAUSES = 2.5
# What writing a model as ONNX takes at least, most of it the exporter's import.
_EXPORT_S = 4.0


def _not_there(engines: Collection[str]) -> dict[str, str]:
    reason = "a device behind TVM's RPC runs compiled models only"
    return {ROW_OF[engine]: reason for engine in engines if engine != "l0compile"}


def saved_inputs(path: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A model factory for the timing process that only knows the inputs."""
    tensors = load_file(path)
    return nn.Identity(), tuple(tensors[str(place)] for place in range(len(tensors)))
