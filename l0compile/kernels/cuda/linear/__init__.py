"""Linear layers on rows, dense and block-sparse, by tensor cores."""
