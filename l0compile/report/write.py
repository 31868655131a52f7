"""Write pages and pictures, each file whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

from l0compile.errors import ArtifactError
from l0compile.report.pages.html import render_page
from l0compile.report.plots.front import plot_front
from l0compile.report.regions import plot_regions
from l0compile.studies.result import SearchResult


def write_report(
    report: SearchResult, folder: str | Path, targets: Mapping[str, SearchResult] | None = None
) -> tuple[Path, ...]:
    """Write ``report.html``, ``pareto.png`` and ``regions.png`` into ``folder``; the paths.

    targets: results by name whose block shapes the page shows side by side; default: this one only.

    Each file is replaced whole, so a reader never sees half of one. Raises ``ArtifactError`` if that fails.
    """
    out = Path(folder)
    contents = {
        "pareto.png": plot_front(report),
        "regions.png": plot_regions(report.regions),
        "report.html": render_page(report, targets).encode(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        return tuple(_replace(out / name, data) for name, data in contents.items())
    except OSError as error:
        raise ArtifactError(f"{out}: the report could not be written: {error.strerror or error}") from error


def write_page(file: str | Path, text: str) -> None:
    """Write one page to ``file``, whole or not at all. Raises ``ArtifactError`` if that fails."""
    try:
        _replace(Path(file), text.encode())
    except OSError as error:
        raise ArtifactError(f"{file}: could not be written: {error.strerror or error}") from error


def _replace(file: Path, data: bytes) -> Path:
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_bytes(data)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return file
