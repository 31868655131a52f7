"""CPU kernels, with tokens in the lanes of vector registers."""
