"""Models for a GPU that is not here: rewritten as for it, predicted kernel by kernel, never compiled or run."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from l0compile.compiler.predict import predict_program
from l0compile.errors import StorageError
from l0compile.frontend.export import capture
from l0compile.hardware.costs import GpuModel
from l0compile.hardware.targets import Target
from l0compile.ir.codec import decode_json, encode
from l0compile.kernels.costs import costs_of
from l0compile.measurement import Measurement, Protocol
from l0compile.rewrite.pipeline import optimise
from l0compile.runtime.account.explanation import Explanation
from l0compile.runtime.account.predicted import PredictedTime

_PREDICTION, _WEIGHTS = "prediction.json", "weights.safetensors"


@dataclass(frozen=True)
class PredictedModel:
    """A model as it would be compiled: what became of each layer, its predicted time, and its weights."""

    account: Explanation
    time: PredictedTime
    weights: dict[str, Tensor]

    def explain(self) -> Explanation:
        """What became of each region, with the predicted time."""
        return self.account

    def save(self, folder: Path) -> None:
        """Write the prediction and the weights; there is no code to save."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _PREDICTION).write_text(json.dumps(encode(self.time)), encoding="utf-8")
        save_file(self.weights, folder / _WEIGHTS)


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
