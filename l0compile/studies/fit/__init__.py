"""Fit candidates to a latency budget, and measure them."""
