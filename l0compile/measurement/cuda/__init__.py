"""Timing on a GPU of this machine: which card it is, its clocks, and calls between events of its stream."""

from l0compile.measurement.cuda.clocks import Clocks, read_clocks, throttled
from l0compile.measurement.cuda.here import GpuHere, require_gpu
from l0compile.measurement.cuda.timer import GpuProtocol, measured_row, time_calls

__all__ = [
    "Clocks",
    "GpuHere",
    "GpuProtocol",
    "measured_row",
    "read_clocks",
    "require_gpu",
    "throttled",
    "time_calls",
]
