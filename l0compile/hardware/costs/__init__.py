"""What kernels take on a device: measured, remembered, merged, and predicted where nothing was measured."""

from l0compile.hardware.costs.database import Database, default_path
from l0compile.hardware.costs.gpu import GpuModel, Prediction
from l0compile.hardware.costs.listed_keys import listed_ms, lists_pay
from l0compile.hardware.costs.lookup import Costs, Estimate, gpu_costs, known_costs, shipped_records
from l0compile.hardware.costs.machine import CountedKernel, Machine
from l0compile.hardware.costs.place import place, versions_of
from l0compile.hardware.costs.record import (
    CostKey,
    CostPlace,
    CostRecord,
    KernelWorkload,
    ScheduleData,
    merged,
)
from l0compile.hardware.costs.text import read_records, write_records

__all__ = [
    "CostKey", "CostPlace", "CostRecord", "Costs", "CountedKernel", "Database", "Estimate", "GpuModel",
    "KernelWorkload", "Machine", "Prediction", "ScheduleData", "default_path", "gpu_costs", "known_costs", "listed_ms",
    "lists_pay", "merged", "place", "read_records", "shipped_records", "versions_of", "write_records",
]  # fmt: skip
