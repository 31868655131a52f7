"""The dense engines that a model is compared with, and the names of their rows in tables."""

from collections.abc import Collection
from typing import Literal, get_args

DenseEngine = Literal[
    "onnxruntime", "openvino", "pytorch", "l0compile", "openvino-bf16", "openvino-int8", "onnxruntime-int8"
]
REFERENCES: tuple[DenseEngine, ...] = ("onnxruntime", "openvino", "pytorch", "l0compile")
"""Engines that compute in float32. A budget can be relative to the dense latency of any `DenseEngine`."""
NARROW: tuple[DenseEngine, ...] = tuple(
    engine for engine in get_args(DenseEngine) if engine not in REFERENCES
)
"""Engines that compute the dense model in narrower numbers, which lose some quality."""

PYTORCH, DENSE, CHOSEN = "dense PyTorch", "dense l0compile", "chosen l0compile"
READ_ONNX = {"onnxruntime": "dense ONNX Runtime", "openvino": "dense OpenVINO"}
ROW_OF = {
    "pytorch": PYTORCH,
    **READ_ONNX,
    "openvino-bf16": "OpenVINO bfloat16",
    "onnxruntime-int8": "ONNX Runtime int8",
    "openvino-int8": "OpenVINO int8",
    "l0compile": DENSE,
}
"""Engine -> its row, in the order of tables."""
PRECISION_OF = {ROW_OF[engine]: "bfloat16" if engine.endswith("bf16") else "int8" for engine in NARROW}
"""Row -> what the linear layers multiply there, if it is not float32."""


def refused_by_predictions(engines: Collection[str]) -> dict[str, str]:
    """Return row -> reason for the engines that predictions for a GPU are not compared with."""
    reason = "there is no GPU here: times are predicted, and not compared with what runs on this machine"
    return {ROW_OF[engine]: reason for engine in engines if engine != "l0compile"}


def refused_by_devices(engines: Collection[str]) -> dict[str, str]:
    """Return row -> reason for the engines that can't run on a device behind TVM's RPC."""
    reason = "a device behind TVM's RPC runs compiled models only"
    return {ROW_OF[engine]: reason for engine in engines if engine != "l0compile"}
