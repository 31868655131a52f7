"""Calling what was compiled for an NVIDIA GPU: a stage on torch tensors, the driver, and an emulation of it."""

from l0compile.runtime.cuda.emulated import EmulatedGpu
from l0compile.runtime.cuda.gpu import GpuDevice, LoadedKernels
from l0compile.runtime.cuda.stage import CudaStage

__all__ = ["CudaStage", "EmulatedGpu", "GpuDevice", "LoadedKernels"]
