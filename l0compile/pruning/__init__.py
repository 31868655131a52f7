"""Pruning at once, without training: what each layer may lose, what that costs, and the best plan for a time."""
