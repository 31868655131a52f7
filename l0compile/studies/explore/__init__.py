"""The phases that find candidates: trials without training, then finalists fitted to a latency."""
