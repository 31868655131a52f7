"""Models for a GPU that is not here: rewritten as for it, predicted kernel by kernel, and never run.

Candidates are not compiled. The chosen one is: what is saved of it is the artifact that a machine with the GPU loads.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from l0compile.compiler.compile import compile as compile_model
from l0compile.compiler.predict import predict_program
from l0compile.errors import L0CompileError, StorageError
from l0compile.frontend.export import capture
from l0compile.hardware.costs import GpuModel
from l0compile.hardware.targets import Target
from l0compile.ir.codec import decode_json, encode
from l0compile.kernels.costs import costs_of
from l0compile.kernels.cuda.toolchain import compiler_stamp, has_nvcc
from l0compile.lower.stage_build import check_gpu
from l0compile.measurement import Measurement, Protocol
from l0compile.rewrite.pipeline import optimise
from l0compile.runtime import CompiledModel
from l0compile.runtime.account.explanation import Explanation
from l0compile.runtime.account.predicted import PredictedTime

_PREDICTION, _WEIGHTS = "prediction.json", "weights.safetensors"


@dataclass(frozen=True)
class PredictedModel:
    """A model as it would be compiled.

    Attributes:
        account: what became of each layer.
        time: of a call, predicted.
        weights: of the model as it was.
        compiled: the same model with code for the GPU, where that was made.
        told: what ``save`` writes beside the prediction, in words.
    """

    account: Explanation
    time: PredictedTime
    weights: dict[str, Tensor]
    compiled: CompiledModel | None = None
    told: str = "weights, no code"

    def explain(self) -> Explanation:
        """What became of each region, with the predicted time."""
        return self.account if self.compiled is None else self.compiled.explain()

    def save(self, folder: Path) -> None:
        """Write the prediction, beside the compiled model or, where there is none, the weights."""
        if self.compiled is not None:
            self.compiled.save(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(self.weights, folder / _WEIGHTS)
        (folder / _PREDICTION).write_text(json.dumps(encode(self.time)), encoding="utf-8")


def predict_model(model: nn.Module, example: tuple[Tensor, ...], target: Target) -> PredictedModel:
    """Rewrite a model for a GPU and predict one call at the sizes of ``example``.

    Raises:
        CaptureError: the model cannot be exported.
        TargetError: the target is not a GPU.
    """
    program = optimise(capture(model, example, None), target, costs=costs_of(target))
    time = predict_program(program, GpuModel(target))
    account = Explanation(
        program.regions, program.history, {"checked": False}, {}, predicted=time
    )  # nothing ran that could be checked
    weights = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
    return PredictedModel(account, time, weights)


def with_code(
    predicted: PredictedModel, model: nn.Module, example: tuple[Tensor, ...], target: Target, shapes: Any
) -> PredictedModel:
    """Compile a predicted model as well. Where that fails the prediction stays, and tells why: a search went before.

    Args:
        predicted: what ``predict_model`` made of ``model``, ``example`` and ``target``.
        shapes: dynamic ones, as ``compile`` takes them.
    """
    try:
        compiled = compile_model(
            model, example, dynamic_shapes=shapes, target=target, engine="tvm", verify=False
        )
    except L0CompileError as error:
        return replace(predicted, told=f"weights, no code: {type(error).__name__}: {error}")
    if not has_nvcc():
        told = "CUDA source, which no GPU runs: there is no nvcc here; pip install 'l0compile[cuda]', and search again"
    else:
        told = f"machine code for {target.cpu} by {compiler_stamp()}, which has never run"
    return replace(predicted, compiled=compiled, told=told)


def refusal(model: nn.Module, example: tuple[Tensor, ...], target: Target, shapes: Any) -> str | None:
    """Why no code for a GPU comes out of a model, as far as that is known before it is generated; None: it should.

    Args:
        shapes: dynamic ones, as ``compile`` takes them.
    """
    try:
        costs = costs_of(target)
        program = optimise(capture(model, example, None, dynamic_shapes=shapes), target, costs=costs)
        check_gpu(program, target, costs)
    except L0CompileError as error:
        return f"{type(error).__name__}: {error}"
    return None


def read_prediction(folder: Path, protocol: Protocol) -> Measurement:
    """The predicted latency of a saved model, marked as one.

    Raises:
        StorageError: there is none.
    """
    file = folder / _PREDICTION
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{file}: expected a prediction: {error}") from error
    time = decode_json(text, PredictedTime, str(file))
    return Measurement.of_prediction(time.low_ms, time.mid_ms, time.high_ms, protocol)
