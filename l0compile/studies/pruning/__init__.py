"""One-shot pruning: what each layer may lose without training, what that costs, and the best allocation of a time."""
