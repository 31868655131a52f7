"""Find what the zeros in a program make dead, and which axes must be cut together."""
