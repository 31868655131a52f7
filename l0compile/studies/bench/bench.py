"""The bench of a search: it builds models and times them beside dense engines."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l0compile.compiler.compile import compile as compile_model
from l0compile.errors import L0CompileError
from l0compile.hardware.targets import Target, host_supports
from l0compile.measurement import Measurement, Protocol, Stopwatch, Workload, ratio
from l0compile.measurement.engines import describe_error
from l0compile.measurement.stopwatch import Job
from l0compile.runtime import CompiledModel
from l0compile.studies.bench.engines import (
    DENSE,
    NARROW,
    PYTORCH,
    READ_ONNX,
    REFERENCES,
    ROW_OF,
    refused_by_devices,
    refused_by_predictions,
)
from l0compile.studies.bench.narrow_engines import NarrowFiles
from l0compile.studies.bench.predicted import (
    PredictedModel,
    predict_model,
    read_prediction,
    refusal,
    with_code,
)
from l0compile.tasks import Task

# A comparison ends when the intervals of the ratios that matter are this narrow, and not before this many blocks.
ROUGH, CLOSE, FINAL = 0.06, 0.03, 0.02
_MIN_BLOCKS = 6
# The time of an engine's block, with the pause before it and the warm-up, over the time of its calls.
_PAUSES = 2.5
# The least time that writing an ONNX file takes; most of it goes into importing the exporter.
_EXPORT_S = 4.0
# The least time that another library takes to quantise a model, and the size of held-out data over validation data.
_QUANTISE_S, _HELD_OUT = 4.0, 3.0


@dataclass
class Bench:
    """Builds and times the models of a task. For a GPU that is not here it predicts them instead.

    folder: holds the inputs, the ONNX file and the models compiled for ``target``. device: ``rpc://HOST:PORT/KEY`` of
    the device that runs compiled models; None: this machine. percentile: the percentile of calls that counts.
    stopwatch: the processes that time engines. build_s: the seconds that compiling the dense model took.
    """

    task: Task
    folder: Path
    target: Target | str = "native"
    device: str | None = None
    percentile: float = 50.0
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    build_s: float = 0.0
    _candidates: int = 0

    @cached_property
    def predicts(self) -> bool:
        """Whether times are predicted, see ``only_predicted``."""
        return isinstance(self.target, Target) and only_predicted(self.target, self.device)

    def timed(self, protocol: Protocol) -> Protocol:
        """Return ``protocol`` with the bench's percentile."""
        return dataclasses.replace(protocol, percentile=self.percentile)

    def prepare(self) -> None:
        """Write the example inputs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {str(place): tensor.contiguous() for place, tensor in enumerate(self.task.example())}
        save_file(tensors, self._inputs)

    def build(
        self, model: nn.Module, name: str, *, dynamic: bool = True, verify: bool = True, code: bool = False
    ) -> CompiledModel | PredictedModel:
        """Compile a hardened (or dense) model, and save it as ``folder / name``. See ``predicts`` for the exception.

        dynamic: compile for all sizes that the task wants; False: for the example's sizes only, which is faster.
        verify: compare it with the model.
        code: compile a model that is only predicted, too.
        """
        shapes = self.task.dynamic_shapes() if dynamic else None
        if self.predicts:
            assert isinstance(self.target, Target)
            predicted = predict_model(model, self.task.example(), self.target)
            if code:
                predicted = with_code(predicted, model, self.task.example(), self.target, shapes)
            predicted.save(self.folder / name)
            return predicted
        compiled = compile_model(
            model, self.task.example(), dynamic_shapes=shapes, engine="tvm", target=self.target, verify=verify
        )
        compiled.save(self.folder / name)
        return compiled

    def refusal(self) -> str | None:
        """Return why no code for a GPU that is not here comes out of the task's model; None if it should."""
        assert isinstance(self.target, Target)
        return refusal(self.task.dense(), self.task.example(), self.target, self.task.dynamic_shapes())

    def job(self, artifact: Path) -> Job:
        """Return the job of timing a compiled model."""
        # Not the task's factory: the process that times a candidate need not load the dense model.
        inputs = {"path": str(self._inputs)}
        factory = f"{__name__}:saved_inputs"
        return "l0compile", Workload(factory, inputs, artifact=str(artifact), device=self.device)

    def candidate(self, model: nn.Module) -> Path:
        """Compile a model that is only timed, for the example's sizes; whoever keeps one builds it anew, verified.

        It gets a new name, because processes that time models read each path once.
        """
        self._candidates += 1
        self.build(model, name := f"candidate-{self._candidates}", dynamic=False, verify=False)
        return self.folder / name

    def forget(self, artifact: Path) -> None:
        """Delete a model after its measurement."""
        shutil.rmtree(artifact, ignore_errors=True)

    def dense_jobs(self, engines: Collection[str] = REFERENCES) -> tuple[dict[str, Job], dict[str, str]]:
        """Return the jobs of dense engines by row, and by row the reason why an engine can't take part."""
        jobs, failures = dict[str, Job](), dict[str, str]()
        if self.predicts:
            failures = refused_by_predictions(engines)
        elif self.device is not None:
            failures = refused_by_devices(engines)
        else:
            jobs, failures = self._other_engines(engines)
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
            failures[PYTORCH] = "another process can't make the model: it has no factory"
        elif "pytorch" in engines and made is not None:
            jobs[PYTORCH] = ("pytorch", Workload(*made))
        factory, arguments = made or (f"{__name__}:saved_inputs", {"path": str(self._inputs)})
        reading = {engine: ROW_OF[engine] for engine in (*READ_ONNX, *NARROW) if engine in engines}
        try:
            if reading:
                self.narrow.dense()
        except L0CompileError as error:
            return jobs, failures | dict.fromkeys(reading.values(), str(error))
        for engine, row in reading.items():
            try:
                file = str(self.narrow.timed(engine))
                jobs[row] = engine, Workload(factory, arguments, onnx_path=file)
            except Exception as error:  # whatever another library can't quantise is a row without a time
                failures[row] = describe_error(error)
        return jobs, failures

    @property
    def narrow(self) -> NarrowFiles:
        """The dense model in narrow numbers, for other engines."""
        return NarrowFiles(self.task, self.folder)

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
        told: Callable[[str], None] | None = None,
    ) -> dict[str, Measurement]:
        """Measure all jobs side by side, block by block in turns.

        Args:
            jobs: what to time, by row.
            failures: row -> why an engine can't take part; it becomes a failed measurement.
            protocol: blocks and calls.
            watched: rows whose ratios to the first of them have to be known.
            width: stop once the intervals of these ratios are this narrow, relative to the ratios.
            until: start no block after this moment (`time.monotonic` seconds).
            turns: stop after this many times the blocks of the protocol.
            decided: stop once this holds for what was measured.
            told: called with a line if the measurement takes longer than planned.
        """
        if self.predicts:
            found = {
                name: read_prediction(Path(str(job[1].artifact)), protocol) for name, job in jobs.items()
            }
            return found | {name: Measurement.failed(reason, protocol) for name, reason in failures.items()}
        warned = False

        def enough(found: Mapping[str, Measurement]) -> bool:
            nonlocal warned
            blocks = len(next(iter(found.values())).calls)
            if blocks < min(_MIN_BLOCKS, protocol.blocks):
                return False
            if _width(found, watched) <= width or decided(found):
                return True
            if blocks >= protocol.blocks and turns > 1 and not warned and told is not None:
                warned = True
                told("  something else uses this machine: measuring for longer")
            return False

        # A device times its models one after another, each with all blocks of the protocol.
        longest = dataclasses.replace(protocol, blocks=(1 if self.device else turns) * protocol.blocks)
        found = self.stopwatch.measure(jobs, longest, enough=enough, until=until)
        return found | {name: Measurement.failed(reason, protocol) for name, reason in failures.items()}

    def final_seconds(self, engines: int, quality_s: float, narrow: int = 0) -> float:
        """Estimate the seconds to compile the chosen model and compare it with this many engines.

        narrow: how many of them have to be quantised, and judged as well.
        """
        if self.predicts:
            return 2 * self.build_s + 3 * quality_s
        missing = max(0, engines + 1 - self.stopwatch.running)
        written = (self.folder / "dense.onnx").exists() or self.device is not None
        export_s = 0.0 if written else max(_EXPORT_S, self.build_s)
        protocol = Protocol()
        each = _PAUSES * (protocol.block_s + protocol.settle_s) * _MIN_BLOCKS
        starts_s = missing * self.stopwatch.start_seconds()
        judged_s = export_s + narrow * (_QUANTISE_S + _HELD_OUT * quality_s) if narrow else 0.0
        return 1.2 * self.build_s + export_s + starts_s + (engines + 1) * each + 3 * quality_s + judged_s

    @property
    def trainings(self) -> Path:
        """The folder that keeps trainings until the search ends, so that it can be resumed."""
        return self.folder / "trainings"

    @property
    def _inputs(self) -> Path:
        return self.folder / "inputs.safetensors"


def only_predicted(target: Target, device: str | None) -> bool:
    """Whether the target is a GPU, and neither this machine nor a device has one: then times are predicted."""
    return target.kind == "cuda" and device is None and host_supports(target) is not None


def _width(found: Mapping[str, Measurement], watched: Sequence[str]) -> float:
    """Return the widest interval, relative to its value, among the ratios of ``watched`` to the first of them."""
    there = [found[name] for name in watched if name in found and found[name].ok]
    if len(there) < 2:
        return max(((one.high_ms - one.low_ms) / one.median_ms for one in there), default=0.0)
    ratios = [ratio(there[0], other, paired=True) for other in there[1:]]
    return max((each.high - each.low) / each.value for each in ratios)


def saved_inputs(path: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make the inputs without a model, for a process that times a compiled one."""
    tensors = load_file(path)
    return nn.Identity(), tuple(tensors[str(place)] for place in range(len(tensors)))
