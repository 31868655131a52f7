"""Attention to listed keys."""
