"""What the chosen model has to keep: a latency, a quality, limits. One file each, found in ``registry.py``."""
