"""What kernels take on a device: measured, remembered, merged, and predicted where nothing was measured."""

from l0compile.hardware.costs.database import Database, default_path
from l0compile.hardware.costs.lookup import Costs, Estimate, costs_of, shipped_records
from l0compile.hardware.costs.place import place
from l0compile.hardware.costs.record import CostKey, Place, Record, Schedule, Work, merged
from l0compile.hardware.costs.text import read_records, write_records

__all__ = [
    "CostKey", "Costs", "Database", "Estimate", "Place", "Record", "Schedule", "Work", "costs_of", "default_path",
    "merged", "place", "read_records", "shipped_records", "write_records",
]  # fmt: skip
