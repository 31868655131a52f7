"""Tables for the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from l0compile.measurement import Ratio
from l0compile.report.blocks import block_order, shape_shares, target_name
from l0compile.report.paper_cells import TITLES, row_cells
from l0compile.studies.paper.result import PaperTable
from l0compile.studies.result import Row, SearchResult
from l0compile.tasks.column_selection import ColumnSelection

if TYPE_CHECKING:
    from rich.table import Table


def comparison_table(report: SearchResult) -> "Table":
    """Return a ``rich`` table with the latency, speed-up and quality of each row; the chosen model is in bold."""
    table, precise = _table(report.title), tells_precisions(report)
    table.add_column("model")
    for title in latency_titles(report):
        table.add_column(title, justify="right")
    table.add_column(f"vs {_escaped(report.reference)}", justify="right")
    table.add_column(_escaped(report.quality_name), justify="right")
    if precise:
        table.add_column("precision")
    for row in report.rows:
        cells = (row.name, *comparison_cells(row), *([row.precision] if precise else []))
        table.add_row(*map(_escaped, cells), style="" if row.dense else "bold")
    return table


def latency_titles(report: SearchResult) -> tuple[str, str]:
    """Return the titles of the columns of latencies and their intervals."""
    return ("predicted latency, ms", "band") if report.predicted else ("latency, ms", "95 % interval")


def tells_precisions(report: SearchResult) -> bool:
    """Whether the table has rows that differ in precision."""
    return len({row.precision for row in report.rows}) > 1


def asked_lines(report: SearchResult) -> tuple[str, ...]:
    """Return a line for ``rich`` for each thing that was asked for; what is missed, and a warning, are in bold."""
    lines = [
        _escaped(str(item)) if item.met else f"[bold]{_escaped(str(item))}[/bold]" for item in report.asked
    ]
    warning = [] if report.warning is None else [f"[bold]WARNING: {_escaped(report.warning)}[/bold]"]
    return (*lines, *warning)


def targets_table(results: Mapping[str, SearchResult]) -> "Table":
    """Return a ``rich`` table of the block shapes of the chosen models: layers, and share of their live weights."""
    table = _table("block shapes of the chosen models")
    table.add_column("block shape")
    counted = [shape_shares(result) for result in results.values()]
    for name, result in results.items():
        table.add_column(_escaped(f"{name}: {target_name(result)}"), justify="right")
    for shape in sorted({shape for found in counted for shape in found}, key=block_order):
        cells = [str(found[shape]) if shape in found else "–" for found in counted]
        table.add_row(_escaped(shape), *cells)
    return table


def columns_table(found: ColumnSelection) -> "Table":
    """Return a ``rich`` table of the columns: how many seeds keep each, and the mean gate of those that do."""
    agree = "" if found.stability is None else f", stability {found.stability:.2f}"
    table = _table(f"columns kept over {len(found.values)} seeds{agree}")
    table.add_column("column")
    table.add_column("kept by", justify="right")
    table.add_column("mean gate", justify="right")
    rows = zip(found.columns, found.share, zip(*found.values, strict=True), strict=True)
    for name, share, values in sorted(rows, key=lambda row: -row[1]):
        kept = [value for value in values if value != 0.0]
        table.add_row(_escaped(name), f"{share:.0%}", f"{sum(kept) / len(kept):.2f}" if kept else "–")
    return table


def paper_table(found: PaperTable) -> "Table":
    """Return a ``rich`` table of a series: one row for each active fraction, the dense model first and in bold."""
    table = _table(found.title)
    for title in TITLES:
        table.add_column(title, justify="right")
    for row in found.rows:
        table.add_row(*map(_escaped, row_cells(row)), style="bold" if row.fraction is None else "")
    return table


def comparison_cells(row: Row) -> tuple[str, str, str, str]:
    """Return latency, interval, speed-up and quality as text; a note stands for an interval that was not measured."""
    quality = "–" if row.quality is None else f"{row.quality:.4f}"
    if row.latency is None:
        return "–", row.note or "not measured", "–", quality
    word = row.latency.word
    interval = f"{word}{row.latency.low_ms:.3f} to {row.latency.high_ms:.3f}"
    return f"{word}{row.latency.median_ms:.3f}", interval, _times(row.speedup, row.latency.predicted), quality


def _times(found: Ratio | None, predicted: bool) -> str:
    if found is not None and predicted:  # both bands move together, by no one knows how much
        return f"predicted {found.value:.2f}×"
    return "–" if found is None else f"{found.value:.2f}× [{found.low:.2f}, {found.high:.2f}]"


def _table(title: str) -> "Table":
    from rich import box
    from rich.table import Table

    return Table(title=_escaped(title), title_justify="left", box=box.SIMPLE_HEAD)


def _escaped(text: str) -> str:
    # Names such as "layer[0]" would be read as style tags.
    from rich.markup import escape

    return escape(text)
