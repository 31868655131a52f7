"""Bring values into the memory layouts that the kernels read."""
