"""Choose how each weight is stored: dense, in blocks, or not at all."""
