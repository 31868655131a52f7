"""What a search found, for people: one HTML page, two pictures, and a table in the terminal."""

from l0compile.report.front import plot_front as plot_front
from l0compile.report.html import render_page as render_page
from l0compile.report.regions import plot_regions as plot_regions
from l0compile.report.table import comparison_table as comparison_table
from l0compile.report.write import write_report as write_report

__all__ = [
    "comparison_table", "plot_front", "plot_regions", "render_page", "write_report",
]  # fmt: skip
