"""Layouts of products and choices whose operands are all computed."""
