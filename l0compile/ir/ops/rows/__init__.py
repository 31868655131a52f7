"""Layers whose values stay in rows, in the forms that kernels of GPUs take; each with its PyTorch reference."""

from l0compile.ir.ops.rows import integers as integers
