"""Sparse attention: patterns, and which head gets which."""
