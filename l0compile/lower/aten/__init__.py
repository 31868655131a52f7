"""ATen operators as TensorIR; a test compares each of them with PyTorch."""
