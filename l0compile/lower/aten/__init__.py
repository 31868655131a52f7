"""ATen operators as TensorIR, each compared with PyTorch by a test."""
