"""Plots, as SVG in a page and as PNG in a file."""
