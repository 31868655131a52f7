"""Make candidates, fit them to a latency budget, and measure them."""
