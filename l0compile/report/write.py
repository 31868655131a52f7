"""Write pages and pictures; a reader never sees half a file."""

from collections.abc import Mapping
from pathlib import Path

from l0compile.errors import StorageError
from l0compile.report.pages.paper_page import CURVES, render_paper
from l0compile.report.pages.search_page import render_search
from l0compile.report.plots.export import png
from l0compile.report.plots.figure import HALF, WIDE
from l0compile.report.plots.fractions import draw_fractions
from l0compile.report.plots.regions import draw_regions
from l0compile.report.plots.reliability import diagram_size, draw_reliability, reliability_panels
from l0compile.report.plots.tradeoff import draw_tradeoff
from l0compile.studies.paper.result import Paper
from l0compile.studies.result import SearchResult


def write_report(
    report: SearchResult, folder: str | Path, targets: Mapping[str, SearchResult] | None = None
) -> tuple[Path, ...]:
    """Write ``report.html``, ``pareto.png`` and ``regions.png``.

    Args:
        report: What the files show.
        folder: Where they go; it is made if needed.
        targets: Results by name whose block shapes the page compares; default: this one only.

    Returns:
        The paths of the files.

    Raises:
        StorageError: A file could not be written.
    """
    out = Path(folder)
    contents = {
        "pareto.png": png(draw_tradeoff(report, WIDE)),
        "regions.png": png(draw_regions(report.regions)),
        "report.html": render_search(report, targets).encode(),
    }
    return _write_all(out, contents)


def write_paper(paper: Paper, folder: str | Path) -> tuple[Path, ...]:
    """Write ``paper.html``, and for each series a picture of accuracy and one of calibration over the fractions.

    Args:
        paper: What the files show.
        folder: Where they go; it is made if needed.

    Returns:
        The paths of the files.

    Raises:
        StorageError: A file could not be written.
    """
    out = Path(folder)
    contents = {"paper.html": render_paper(paper).encode()}
    for table in paper.tables:
        for score in CURVES if len(table.rows) > 1 else ():
            contents[f"{table.name}-{score.lower()}.png"] = png(draw_fractions(table, score, HALF))
        panels = reliability_panels(table.reports)
        contents[f"{table.name}-reliability.png"] = png(draw_reliability(panels, diagram_size(len(panels))))
    return _write_all(out, contents)


def write_page(file: str | Path, text: str) -> None:
    """Write one page.

    Args:
        file: Where it goes.
        text: The HTML.

    Raises:
        StorageError: The file could not be written.
    """
    try:
        _replace(Path(file), text.encode())
    except OSError as error:
        raise StorageError(f"{file}: could not be written: {error.strerror or error}") from error


def _write_all(out: Path, contents: Mapping[str, bytes]) -> tuple[Path, ...]:
    try:
        out.mkdir(parents=True, exist_ok=True)
        return tuple(_replace(out / name, data) for name, data in contents.items())
    except OSError as error:
        raise StorageError(f"{out}: the report could not be written: {error.strerror or error}") from error


def _replace(file: Path, data: bytes) -> Path:
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_bytes(data)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file
