"""The error among the most confident predictions, over how many of them are answered."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from l0compile.calibration import RiskCoverage
from l0compile.report.plots.colours import CHOSEN, FRONT
from l0compile.report.plots.export import set_tip
from l0compile.report.plots.figure import (
    HALF,
    NARROW,
    WIDE,
    Plot,
    PlotSize,
    add_legend,
    canvas,
    set_range,
    set_titles,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (FRONT, CHOSEN, "#0f766e", "#a16207", "#52606d")
_LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_FEWEST = 0.01  # of coverage: the error of fewer is mostly chance


def risk_over_coverage(curves: Mapping[str, RiskCoverage]) -> Plot | None:
    """Return the plot for a page, of curves by name of model; None without any."""
    if not curves:
        return None
    said = "; ".join(f"{name} errs in {100 * curve.risk[-1]:.2f} % of all" for name, curve in curves.items())
    caption = (
        "Each curve is a model that answers only where it is most confident: few examples on the left, all of them on"
        " the right. Lower is better; where a curve is flat, confidence does not tell right from wrong. One temperature"
        " for all changes no order of two classes, so raw and scaled are the same curve there."
    )
    label = f"Share of wrong answers over coverage: {said}."
    return Plot(lambda size: draw_risk_coverage(curves, size), label, caption, (WIDE, NARROW))


def draw_risk_coverage(curves: Mapping[str, RiskCoverage], size: PlotSize = HALF) -> "Figure":
    """Draw a curve for each model, at least one, from a coverage of 1 %."""
    figure, axes = canvas(size)
    set_titles(axes, "coverage: share of examples answered, %", "wrong among them, %")
    keys, seen = [], [0.0]
    for number, (name, curve) in enumerate(curves.items()):
        points = [
            (100 * c, 100 * r) for c, r in zip(curve.coverage, curve.risk, strict=True) if c >= _FEWEST - 1e-9
        ]
        (line,) = axes.plot(
            *zip(*points, strict=True), color=_COLOURS[number % len(_COLOURS)], linewidth=2, label=name,
            linestyle=_LINES[number % len(_LINES)],
        )  # fmt: skip
        set_tip(line, f"{name}: {points[-1][1]:.2f} % of all wrong")
        keys.append(line)
        seen += [risk for _, risk in points]
    set_range(axes, "x", (0.0, 100.0), 4 if size.narrow else 8, log=False, margin=0.02)
    set_range(axes, "y", seen, 6, log=False, margin=0.05)
    add_legend(axes, keys, 2 if size.narrow else 4)
    return figure
