"""Attention over packed tokens."""
