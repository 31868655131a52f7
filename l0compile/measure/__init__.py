"""Latency: a protocol as a value, samples with an interval, and engines timed in processes of their own."""

from l0compile.measure.comparison import ratio
from l0compile.measure.local import measure
from l0compile.measure.onnx_export import export_onnx
from l0compile.measure.processes import measure_engine, measure_engines
from l0compile.measure.protocol import Protocol
from l0compile.measure.result import Measurement
from l0compile.measure.stopwatch import Stopwatch
from l0compile.measure.workload import ENGINES, Workload
from l0compile.statistics import Ratio, bootstrap_interval

__all__ = [
    "ENGINES",
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
    "ratio",
]
