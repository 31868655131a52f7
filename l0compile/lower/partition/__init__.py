"""Partitioning a program into stages for TVM and islands for PyTorch."""
