"""The page of a paper run: for each series a table, curves over the active fraction, and reliability diagrams."""

from l0compile.report.pages.page import render
from l0compile.report.paper_cells import REPORT_TITLES, TITLES, report_cells, row_cells, signed
from l0compile.report.plots.fractions import fractions_plot
from l0compile.report.plots.reliability import reliability, reliability_panels
from l0compile.studies.paper.result import COMPARED, SCORES, Paper, PaperTable
from l0compile.studies.paper.timing import PaperTiming

CURVES = ("accuracy", "ECE")


def render_paper(paper: Paper) -> str:
    """Return the whole page."""
    return render(
        "paper.html",
        title="One gate for tables, text, graphs and images",
        paper=paper,
        titles=TITLES,
        report_titles=REPORT_TITLES,
        tables=[_shown(table) for table in paper.tables],
        compared=COMPARED,
    )


def _shown(table: PaperTable) -> dict[str, object]:
    gated = any(row.fraction is not None for row in table.rows)
    return {
        "facts": table,
        "rows": [(row, row_cells(row)) for row in table.rows],
        "engines": [(timing.name, _engine(timing)) for timing in table.engines],
        "plots": [fractions_plot(table, score) for score in CURVES] if gated else [],
        "reliability": reliability(reliability_panels(table.reports)),
        "reports": [(one.name, report_cells(one)) for one in table.reports],
        "difference": [(name, signed(table.difference[name])) for name in SCORES if name in table.difference],
    }


def _engine(timing: PaperTiming) -> str:
    if timing.ms is None:
        return f"could not run: {timing.error}"
    return f"{timing.ms:.3g} ms [{timing.low:.3g}, {timing.high:.3g}]"
