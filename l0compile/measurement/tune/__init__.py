"""Search the schedules of kernels on this machine, and remember what each took."""

from l0compile.measurement.tune.tuner import Plan, Progress, tune
from l0compile.measurement.tune.works import model_works, pruned, shape_works

__all__ = ["Plan", "Progress", "model_works", "pruned", "shape_works", "tune"]
