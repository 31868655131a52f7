"""Kernels, for CPUs and GPUs: one definition each, found in ``registry.KERNELS``."""

from l0compile.kernels.cpu.dot import adds_in_16_bits
from l0compile.kernels.registry import KERNELS, emit, kernel_call, kernel_of, kind_of
from l0compile.kernels.token_tile import TokenTile, token_tile

__all__ = [
    "KERNELS",
    "TokenTile",
    "adds_in_16_bits",
    "emit",
    "kernel_call",
    "kernel_of",
    "kind_of",
    "token_tile",
]
