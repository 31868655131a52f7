"""How times of CUDA kernels are recorded, and what they are timed with."""
