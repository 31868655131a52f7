"""Latency: a protocol as a value, samples with an interval, and engines timed in processes of their own."""

from l0compile.hardware.statistics import Ratio, bootstrap_interval
from l0compile.measurement.comparison import ratio
from l0compile.measurement.engine_module import EngineModule
from l0compile.measurement.local import measure
from l0compile.measurement.onnx_export import export_onnx
from l0compile.measurement.onnxruntime_int8 import quantize_for_onnxruntime
from l0compile.measurement.openvino_int8 import quantize_for_openvino, with_sizes
from l0compile.measurement.processes import measure_engine, measure_engines
from l0compile.measurement.protocol import Protocol
from l0compile.measurement.result import Measurement
from l0compile.measurement.stopwatch import Stopwatch
from l0compile.measurement.workload import ENGINES, Workload

__all__ = [
    "ENGINES",
    "EngineModule",
    "Measurement",
    "Protocol",
    "Ratio",
    "Stopwatch",
    "Workload",
    "bootstrap_interval",
    "export_onnx",
    "measure",
    "measure_engine",
    "measure_engines",
    "quantize_for_onnxruntime",
    "quantize_for_openvino",
    "ratio",
    "with_sizes",
]
