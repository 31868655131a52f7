"""What kernels take on a GPU that nobody has timed them on: an analytic model, with its error band."""

from l0compile.hardware.costs.gpu.efficiencies import OURS, TRITON, TWO_OF_FOUR, VENDOR, Efficiencies
from l0compile.hardware.costs.gpu.model import GpuModel, Prediction

__all__ = ["OURS", "TRITON", "TWO_OF_FOUR", "VENDOR", "Efficiencies", "GpuModel", "Prediction"]
