"""Linear layers, dense and block-sparse."""
