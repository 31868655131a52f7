"""A curve for each model, as computed, from a coverage of 1 %."""

import pytest

from l0compile.calibration import RiskCoverage, risk_coverage
from l0compile.report.plots.figure import HALF, NARROW, WIDE
from l0compile.report.plots.risk_coverage import draw_risk_coverage, risk_over_coverage
from tests.calibration.drawn_examples import too_sure
from tests.report.drawn import Drawn

CURVES = {
    "dense": risk_coverage(*too_sure(1000, 4), points=100),
    "gated $x_1": risk_coverage(*too_sure(1000, 4, seed=1)),
}


@pytest.mark.parametrize("size", [WIDE, NARROW, HALF])
def test_curves_are_drawn_as_computed(size) -> None:  # type: ignore[no-untyped-def]
    drawn = Drawn.of(draw_risk_coverage(CURVES, size))
    assert drawn.labels() == drawn.legend() == ["dense", "gated $x_1"]
    for name, first in (("dense", 0), ("gated $x_1", 9)):
        curve, line = CURVES[name], drawn.line(name)
        assert list(line.get_xdata()) == pytest.approx([100 * c for c in curve.coverage[first:]])
        assert list(line.get_ydata()) == pytest.approx([100 * r for r in curve.risk[first:]])
        assert all(drawn.inside((float(x), float(y))) for x, y in line.get_xydata())  # type: ignore[union-attr]


def test_lines_differ_in_more_than_hue() -> None:
    many = {f"model {number}": CURVES["dense"] for number in range(5)}
    lines = Drawn.of(draw_risk_coverage(many, WIDE)).axes.lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 5
    assert lines[0].get_linestyle() != lines[1].get_linestyle()


def test_the_plot_says_how_much_is_wrong() -> None:
    found = risk_over_coverage({"dense": RiskCoverage((0.5, 1.0), (0.0, 0.125))})
    assert (
        found is not None
        and found.label == "Share of wrong answers over coverage: dense errs in 12.50 % of all."
    )
    wide, narrow = found.pictures()
    assert "<title>dense: 12.50 % of all wrong</title>" in wide and narrow
    assert risk_over_coverage({}) is None
