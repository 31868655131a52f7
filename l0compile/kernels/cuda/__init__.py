"""CUDA kernels. Their code compiles; nothing has run them on a GPU yet."""
