"""The cells of a paper's tables, for the page and the terminal."""

from l0compile.calibration import Calibration, Interval
from l0compile.studies.paper.result import PaperRow, Spread

TITLES = (
    "active", "accuracy", "F1", "AUROC", "ECE", "ECE, scaled", "NLL, scaled", "compiled, ms", "over best dense engine",
    "flips", "size, MB",
)  # fmt: skip


def row_cells(row: PaperRow) -> list[str]:
    """Return the cells of a row under ``TITLES``."""
    timing = row.timing
    measured = timing is not None and timing.ms is not None
    return [
        "dense" if row.fraction is None else f"{row.active:.1%}",
        *(spread_text(row.raw[name]) for name in ("accuracy", "F1", "AUROC", "ECE")),
        *(spread_text(row.scaled[name]) for name in ("ECE", "NLL")),
        f"{timing.ms:.3g}" if timing is not None and measured else "–",
        f"{timing.faster.value:.2f}×" if timing is not None and timing.faster is not None else "–",
        "–" if row.flips is None else str(row.flips),
        "–" if row.size is None else f"{row.size / 1e6:.2f}",
    ]


def spread_text(spread: Spread) -> str:
    """Return the mean and the deviation over seeds."""
    return f"{spread.mean:.4f} ± {spread.deviation:.4f}"


def signed(spread: Spread) -> str:
    """Return a difference of seeds, with its sign."""
    return f"{spread.mean:+.4f} ± {spread.deviation:.4f}"


MEASURED = ("ece", "equal_mass_ece", "classwise_ece", "nll", "brier", "aurc")
REPORT_TITLES = ("seed 0, 95 % intervals", *MEASURED)


def report_cells(report: Calibration) -> list[list[str]]:
    """Return two rows under ``REPORT_TITLES``: the model as it is, and scaled; for others than the baseline two more,
    their differences from the scaled baseline."""
    shown = [("raw", report.raw.measures), (f"T = {report.temperature.value:.3g}", report.scaled.measures)]
    if report.name != report.baseline:
        shown += [
            (f"raw minus scaled {report.baseline}", report.raw_difference),
            (f"scaled minus scaled {report.baseline}", report.scaled_difference),
        ]
    return [
        [f"{report.name}, {words}", *(_interval(found[name]) for name in MEASURED)] for words, found in shown
    ]


def _interval(found: Interval | None) -> str:
    return "–" if found is None else f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"
