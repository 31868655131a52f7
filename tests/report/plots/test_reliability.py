"""A panel for each model: marks where accuracy is, gaps to the diagonal, shares of examples, errors in words."""

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from l0compile.calibration import Interval, ReliabilityBin, calibration_of_logits
from l0compile.report.plots.colours import CHOSEN, FRONT
from l0compile.report.plots.export import png
from l0compile.report.plots.reliability import (
    Reliability,
    diagram_size,
    draw_reliability,
    reliability,
    reliability_panels,
)
from tests.calibration.drawn_examples import too_sure

BINS = (
    ReliabilityBin(0.0, 0.25, 0, None, None),
    ReliabilityBin(0.25, 0.5, 10, 0.4, 0.5),
    ReliabilityBin(0.5, 0.75, 30, 0.6, 0.2),
    ReliabilityBin(0.75, 1.0, 60, 0.9, 0.9),
)
PANELS = [
    Reliability("dense $x_1", BINS, Interval(0.13, 0.1, 0.2), Interval(0.03, 0.01, 0.05)),
    Reliability("gated, with a name that is rather long", BINS),
]


def panels(figure: Figure) -> list[tuple[Axes, Axes]]:
    return list(zip(figure.axes[::2], figure.axes[1::2], strict=True))


def lines(axes: Axes, label: str) -> list[list[list[float]]]:
    return [line.get_xydata().tolist() for line in axes.lines if line.get_label() == label]  # type: ignore[union-attr]


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_marks_gaps_and_bars_are_those_of_the_bins() -> None:
    for above, below in panels(draw_reliability(PANELS, diagram_size(2))):
        assert lines(above, "bin") == [[[0.4, 0.5]], [[0.6, 0.2]], [[0.9, 0.9]]]
        assert lines(above, "gap") == [[[0.4, 0.4], [0.4, 0.5]], [[0.6, 0.6], [0.6, 0.2]], [[0.9, 0.9]] * 2]
        colours = [line.get_color() for line in above.lines if line.get_label() == "bin"]
        assert colours == [FRONT, CHOSEN, FRONT]
        bars = [(bar.get_x(), bar.get_height()) for bar in below.patches]  # type: ignore[attr-defined]
        assert bars == [(0.0, 0.0), (0.25, 0.1), (0.5, 0.3), (0.75, 0.6)]
        # From the first bin that holds something, and down to the lowest accuracy.
        assert above.get_xlim()[0] == below.get_xlim()[0] == pytest.approx(0.25 - 0.03 * 0.75)
        assert above.get_ylim()[0] < 0.2 < 1.0 < above.get_ylim()[1]


def test_errors_are_written_in_the_panels() -> None:
    (first, _), (second, _) = panels(draw_reliability(PANELS, diagram_size(2)))
    assert words(first) == ["ECE 0.1300", "[0.1000, 0.2000]", "chance: 0.0300"]
    assert words(second) == ["ECE 0.1300"]
    assert (first.get_title(loc="left"), second.get_title(loc="left")[:11]) == ("dense $x_1", "gated, with")


def test_panels_fill_rows_of_what_fits() -> None:
    for count, width, columns in ((4, 880, 4), (6, 880, 4), (1, 880, 1), (4, 360, 2)):
        figure = draw_reliability([PANELS[0]] * count, diagram_size(count, width))
        places = [axes.get_subplotspec() for axes, _ in panels(figure)]
        assert [(at.rowspan.start // 2, at.colspan.start) for at in places if at] == [
            divmod(number, columns) for number in range(count)
        ]
    assert diagram_size(6).height > diagram_size(4).height


def test_the_plot_says_what_it_shows() -> None:
    found = reliability(PANELS)
    assert found is not None and "of 100 examples in all" in found.caption
    assert (
        "dense $x_1: ECE 0.1300 [0.1000, 0.2000]; gated, with a name that is rather long: ECE 0.1300"
        in found.label
    )
    wide, narrow = found.pictures()
    assert "confidence above 0.500 to 0.750: 30 examples, mean confidence 0.600, accuracy 0.200" in wide
    assert wide.count("<title>") == narrow.count("<title>") == 6
    assert reliability([]) is None


def test_reports_have_a_panel_raw_and_one_scaled() -> None:
    logits, labels = too_sure(400, 3)
    reports = calibration_of_logits({"dense": (logits, logits)}, labels, labels, resamples=20)
    raw, scaled = reliability_panels(list(reports.values()))
    assert raw.name == "dense, raw" and scaled.name == f"dense, T = {reports['dense'].temperature.value:.3g}"
    assert raw.ece == reports["dense"].raw.measures["ece"] and scaled.bins == reports["dense"].scaled.bins
    drawn = draw_reliability([raw, scaled], diagram_size(2))
    assert png(drawn).startswith(b"\x89PNG")
