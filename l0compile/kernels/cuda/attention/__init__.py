"""Attention on CUDA GPUs: to all keys, and to those that a row program lists."""
