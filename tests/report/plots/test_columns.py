"""Columns over seeds: the most often kept first, one dot for each open gate."""

from l0compile.report.plots.columns import columns_plot, columns_size, draw_columns
from l0compile.report.terminal import columns_table
from l0compile.tasks import ColumnSelection

FOUND = ColumnSelection(
    ("age", "fnlwgt", "education"), ((1.0, 0.0, 0.9), (0.8, 0.0, 0.0)), (0.85, 0.84), (0.86, 0.86)
)


def test_the_picture() -> None:
    figure = draw_columns(FOUND, columns_size(FOUND))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["fnlwgt", "education", "age"]
    assert [bar.get_width() for bar in axes.patches] == [0.0, 0.5, 1.0]
    assert sum(len(line.get_xdata()) for line in axes.lines) == 3


def test_the_words() -> None:
    plot = columns_plot(FOUND)
    assert "Always kept: age." in plot.label and "Stability over seeds" in plot.caption
    table = columns_table(FOUND)
    assert [list(column.cells) for column in table.columns] == [
        ["age", "education", "fnlwgt"], ["100%", "50%", "0%"], ["0.90", "0.90", "–"],
    ]  # fmt: skip
