"""What a figure holds, for tests of what is drawn and where."""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D


@dataclass(frozen=True)
class Drawn:
    """The axes of a figure, taken apart."""

    axes: Axes

    @classmethod
    def of(cls, figure: Figure) -> "Drawn":
        (axes,) = figure.axes
        return cls(axes)

    def marks(self) -> dict[int, tuple[float, float]]:
        """Number of a candidate -> where its mark is."""
        return {number: tuple(map(float, line.get_xydata()[0])) for number, line in self._marks().items()}  # type: ignore[misc]

    def shapes(self) -> dict[int, str]:
        """Number of a candidate -> shape of its mark: D or o, with "ring" for a hollow one."""
        return {
            number: "ring" if line.get_markerfacecolor() == "#ffffff" else str(line.get_marker())
            for number, line in self._marks().items()
        }

    def interval(self, number: int) -> tuple[float, float]:
        """Ends of the bar through the mark of a candidate, along the axis that it lies on."""
        bars: Any = self._containers()[number].lines[2][0]
        (x1, y1), (x2, y2) = bars.get_segments()[0]
        return (x1, x2) if y1 == y2 else (y1, y2)

    def line(self, label: str) -> Line2D:
        """The one line with this label."""
        (found,) = (line for line in self.axes.lines if line.get_label() == label)
        return found

    def labels(self) -> list[str]:
        """Labels of all lines, in order of drawing."""
        return [str(line.get_label()) for line in self.axes.lines]

    def words(self) -> list[str]:
        """Texts on the axes, in order of drawing."""
        return [text.get_text() for text in self.axes.texts]

    def legend(self) -> list[str]:
        """Texts of the figure's legends."""
        figure = self.axes.get_figure(root=True)
        assert figure is not None
        return [text.get_text() for legend in figure.legends for text in legend.get_texts()]

    def titles(self) -> tuple[str, str]:
        """Names of the lying and of the upright axis."""
        figure = self.axes.get_figure(root=True)
        assert figure is not None
        return self.axes.get_xlabel(), figure.get_suptitle()

    def inside(self, place: tuple[float, float]) -> bool:
        """Whether the ranges of the axes hold a place."""
        (left, right), (low, high) = self.axes.get_xlim(), self.axes.get_ylim()
        return left < place[0] < right and low < place[1] < high

    def _containers(self) -> dict[int, ErrorbarContainer]:
        found = [item for item in self.axes.containers if isinstance(item, ErrorbarContainer)]
        return {int(str(item.get_label()).removeprefix("#")): item for item in found}

    def _marks(self) -> dict[int, Line2D]:
        return {number: item.lines[0] for number, item in self._containers().items()}  # type: ignore[misc]
