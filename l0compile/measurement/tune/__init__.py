"""Search the schedules of kernels on this machine, and remember what each took."""

from l0compile.measurement.tune.tuner import TuningPlan, TuningProgress, tune
from l0compile.measurement.tune.workloads import in_precisions, model_workloads, pruned, shape_workloads

__all__ = [
    "TuningPlan",
    "TuningProgress",
    "in_precisions",
    "model_workloads",
    "pruned",
    "shape_workloads",
    "tune",
]
