"""The stages of a model and how values pass between them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from l0compile.errors import ArtifactError
from l0compile.hardware.targets import Target
from l0compile.ir.codec import Count, Natural, decode
from l0compile.ir.instructions import Code
from l0compile.ir.records import Engine
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.lower.tvm.library import Library
from l0compile.runtime.cuda import CudaStage
from l0compile.runtime.torch_stage import TorchStage
from l0compile.runtime.tvm_stage import TvmStage


@dataclass(frozen=True)
class Step:
    """One stage, with the names of the values that it reads and makes.

    Attributes:
        stage: what runs.
        inputs: names of the values that it reads.
        outputs: names of the values that it makes.
        frees: names that nobody reads afterwards.
    """

    stage: TvmStage | CudaStage | TorchStage
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    frees: tuple[str, ...] = ()


class StagePlan:
    """Runs the stages in order. Stages that hold a constant of the same name hold the same tensor.

    Attributes:
        steps: the stages.
        inputs: names of the model's flat inputs, state last.
        results: for each flat result its name in a tuple, or the constant.
    """

    def __init__(self, steps: Sequence[Step], inputs: Sequence[str], results: Sequence[Any]) -> None:
        self.steps, self.inputs, self.results = tuple(steps), tuple(inputs), tuple(results)
        # One stage from the inputs to the results: there is nothing to pass on.
        alone = len(self.steps) == 1 and self.steps[0].inputs == self.inputs
        made = [(name,) for name in self.steps[0].outputs] if alone else None
        self._only = self.steps[0].stage if made == [*self.results] else None

    def __call__(self, leaves: Sequence[Tensor]) -> list[Any]:
        """Return the flat results for checked flat inputs."""
        if self._only is not None:
            return self._only(leaves)
        values: dict[str, Any] = dict(zip(self.inputs, leaves, strict=True))
        for step in self.steps:
            made = step.stage([values[name] for name in step.inputs])
            values.update(zip(step.outputs, made, strict=True))
            for name in step.frees:
                del values[name]
        return [self._result(values, result) for result in self.results]

    def _result(self, values: Mapping[str, Any], result: Any) -> Any:
        if not isinstance(result, tuple):
            return result
        (name,) = result
        # An input handed through is copied: results are the caller's own.
        return values[name].clone() if name in self.inputs else values[name]

    def keep(self) -> None:
        """Make what stages wrote into state final."""
        for step in self.steps:
            if isinstance(step.stage, TorchStage):
                step.stage.keep()

    def take_back(self) -> None:
        """Undo what stages wrote into state, the last first."""
        for step in reversed(self.steps):
            if isinstance(step.stage, TorchStage):
                step.stage.take_back()

    def times(self, leaves: Sequence[Tensor], repeats: int) -> list[list[tuple[str, float]]]:
        """Return (name, median ms) of what each stage runs, in order; PyTorch's stages are one item, unnamed."""
        values: dict[str, Any] = dict(zip(self.inputs, leaves, strict=True))
        found = []
        for step in self.steps:
            inputs = [values[name] for name in step.inputs]
            values.update(zip(step.outputs, step.stage(inputs), strict=True))
            if not isinstance(step.stage, TorchStage):
                found.append(step.stage.times(inputs, repeats))
            else:
                found.append([("", _median_ms(partial(step.stage, inputs), repeats))])
        return found

    def ready_to_time(self) -> torch.device:
        """Return where inputs have to be when calls are timed.

        Raises:
            TargetError: the stages are for a GPU that is not here.
        """
        found = [step.stage.ready_to_time() for step in self.steps if isinstance(step.stage, CudaStage)]
        return found[0] if found else torch.device("cpu")

    def wait(self) -> None:
        """Wait until calls are done; on a CPU they are when they return."""
        for step in self.steps:
            if isinstance(step.stage, CudaStage):
                step.stage.wait()

    def emulated(self) -> "StagePlan":
        """Return the same plan with stages for a GPU on one that is emulated."""
        steps = [
            replace(step, stage=step.stage.emulated()) if isinstance(step.stage, CudaStage) else step
            for step in self.steps
        ]
        return StagePlan(steps, self.inputs, self.results)

    def limit(self, threads: int | None) -> None:
        """Use at most ``threads`` threads from now on; None: all. With 1, several calls may run at once."""
        for step in self.steps:
            step.stage.limit(threads)

    @property
    def constants(self) -> dict[str, Tensor]:
        """All constants by name."""
        return {name: tensor for step in self.steps for name, tensor in step.stage.constants.items()}

    def export(self, folder: Path) -> list[Path]:
        """Write the library of each compiled stage to ``folder``, and return the paths in order."""
        paths: list[Path] = []
        for step in self.steps:
            if isinstance(step.stage, TvmStage | CudaStage):
                paths.append(folder / f"{len(paths)}.so")
                step.stage.export(paths[-1])
        return paths

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; libraries and constants are stored beside them."""
        return {
            "stages": [_dump(step) for step in self.steps],
            "results": list(self.results),
            "values_in": list(self.inputs),
        }

    @classmethod
    def from_json(
        cls,
        record: Mapping[str, Any],
        constants: Mapping[str, Tensor],
        libraries: Sequence[Path],
        target: Target,
    ) -> "StagePlan":
        """Return the plan that ``to_json`` wrote, beside other keys, into ``record``; the libraries are for ``target``.

        Raises:
            ArtifactError: it is malformed, or has code that this version does not run.
        """
        names = [field.name for field in fields(_StoredPlan)]
        given = {name: record[name] for name in names if name in record}
        stored = decode(given, _StoredPlan, "load", ArtifactError, advice="save the model again")
        left = list(libraries)
        try:
            steps = [_load(item, constants, left, target) for item in stored.stages]
        except (KeyError, IndexError) as error:
            raise ArtifactError(
                f"load: expected the constants and libraries of every stage, got none for {error}; save the model again"
            ) from error
        results = [tuple(item) if isinstance(item, list) else item for item in stored.results]
        return cls(steps, stored.values_in, results)


@dataclass(frozen=True)
class _StoredStage:
    """A ``Step`` in JSON. ``parameters``, ``device``: of a stage in TVM; what follows: of one in PyTorch."""

    engine: Engine
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    frees: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    device: Literal["cpu", "cuda"] = "cpu"
    code: Mapping[str, Any] = field(default_factory=dict)
    threads: Count | None = None
    pauses: bool = False
    writes: tuple[Natural, ...] = ()


@dataclass(frozen=True)
class _StoredPlan:
    stages: tuple[_StoredStage, ...]
    results: tuple[Any, ...]
    values_in: tuple[str, ...]


def _median_ms(call: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) * 1e-6)
    return statistics.median(times)


def _dump(step: Step) -> dict[str, Any]:
    stage = step.stage
    common = {"inputs": list(step.inputs), "outputs": list(step.outputs), "frees": list(step.frees)}
    if not isinstance(stage, TorchStage):
        device = "cuda" if isinstance(stage, CudaStage) else "cpu"
        return {**common, "engine": "tvm", "device": device, "parameters": list(stage.constants)}
    return {
        **common,
        "engine": "torch",
        "code": stage.code.to_json(),
        "threads": stage.threads,
        "pauses": stage.pauses,
        "writes": list(stage.writes),
    }


def _load(item: _StoredStage, constants: Mapping[str, Tensor], libraries: list[Path], target: Target) -> Step:
    stage: TvmStage | CudaStage | TorchStage
    if item.engine == "tvm":
        content = libraries.pop(0).read_bytes()
        own = {name: constants[name] for name in item.parameters}
        on_gpu = item.device == "cuda"
        stage = CudaStage(CudaLibrary(content), own, target) if on_gpu else TvmStage(Library(content), own)
    else:
        stage = TorchStage(Code.from_json(item.code), constants, item.threads, item.pauses, item.writes)
    return Step(stage, item.inputs, item.outputs, item.frees)
