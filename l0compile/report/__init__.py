"""What a search found, for people: one HTML page, two pictures, and a table in the terminal."""

from l0compile.report.data import Candidate as Candidate
from l0compile.report.data import Latency as Latency
from l0compile.report.data import Report as Report
from l0compile.report.data import Row as Row
from l0compile.report.data import read_report as read_report
from l0compile.report.data import restore_regions as restore_regions
from l0compile.report.front import plot_front as plot_front
from l0compile.report.html import render_page as render_page
from l0compile.report.regions import plot_regions as plot_regions
from l0compile.report.table import comparison_table as comparison_table
from l0compile.report.table import region_table as region_table
from l0compile.report.write import RESULT as RESULT
from l0compile.report.write import write_report as write_report

__all__ = [
    "RESULT", "Candidate", "Latency", "Report", "Row", "comparison_table", "plot_front", "plot_regions", "read_report",
    "region_table", "render_page", "restore_regions", "write_report",
]  # fmt: skip
