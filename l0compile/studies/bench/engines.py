"""The dense engines that a model is compared with, and the names of their rows in tables."""

from collections.abc import Collection
from typing import Literal

DenseEngine = Literal["onnxruntime", "openvino", "pytorch", "l0compile"]
REFERENCES: tuple[DenseEngine, ...] = ("onnxruntime", "openvino", "pytorch", "l0compile")
"""Engines whose dense latency a budget can be relative to."""

PYTORCH, DENSE, CHOSEN = "dense PyTorch", "dense l0compile", "chosen l0compile"
READ_ONNX = {"onnxruntime": "dense ONNX Runtime", "openvino": "dense OpenVINO"}
ROW_OF = {"pytorch": PYTORCH, "l0compile": DENSE, **READ_ONNX}


def refused_by_devices(engines: Collection[str]) -> dict[str, str]:
    """Return row -> reason for the engines that can't run on a device behind TVM's RPC."""
    reason = "a device behind TVM's RPC runs compiled models only"
    return {ROW_OF[engine]: reason for engine in engines if engine != "l0compile"}
