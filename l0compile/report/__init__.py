"""For people: what a search found, and what became of a model, as HTML pages, pictures and a table."""

from l0compile.report.explanation_page import render_explanation as render_explanation
from l0compile.report.front import plot_front as plot_front
from l0compile.report.html import render_page as render_page
from l0compile.report.regions import plot_regions as plot_regions
from l0compile.report.sweep import PLOTS as PLOTS
from l0compile.report.sweep import Point as Point
from l0compile.report.sweep import sweep_plot as sweep_plot
from l0compile.report.sweep import sweep_table as sweep_table
from l0compile.report.table import asked_lines as asked_lines
from l0compile.report.table import comparison_table as comparison_table
from l0compile.report.table import targets_table as targets_table
from l0compile.report.write import write_page as write_page
from l0compile.report.write import write_report as write_report

__all__ = [
    "PLOTS", "Point", "asked_lines", "comparison_table", "plot_front", "plot_regions", "render_explanation",
    "render_page", "sweep_plot", "sweep_table", "targets_table", "write_page", "write_report",
]  # fmt: skip
