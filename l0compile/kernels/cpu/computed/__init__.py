"""Kernels for computed tensors alone: no operand of theirs is a weight."""
