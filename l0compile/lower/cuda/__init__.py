"""Whole programs for NVIDIA GPUs: threads for every operator, one image of device code, and the host code in C."""
