"""What a machine is, and what kernels take on it."""
