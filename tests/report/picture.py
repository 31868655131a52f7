"""A picture of the page taken apart, for tests of where things are drawn."""

from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class Picture:
    """One drawing; a figure has a wide and a narrow one, or one."""

    root: ElementTree.Element

    @classmethod
    def all_of(cls, figure: str | None) -> "list[Picture]":
        assert figure is not None
        return [cls(svg) for svg in ElementTree.fromstring(figure).iter("svg")]

    @property
    def size(self) -> tuple[float, float]:
        return tuple(map(float, self.root.attrib["viewBox"].split()[2:]))  # type: ignore[return-value]

    def found(self, tag: str, kind: str = "") -> list[ElementTree.Element]:
        """Elements of one tag, with a class if ``kind`` is given."""
        return [e for e in self.root.iter(tag) if not kind or kind in e.attrib.get("class", "").split()]

    def marks(self) -> dict[int, tuple[str, float, float]]:
        """Number of a candidate -> shape of its mark and the mark's centre."""
        found = {}
        for mark in [*self.found("circle"), *self.found("polygon")]:
            number = int(mark[0].text.split(",")[0].removeprefix("#"))  # type: ignore[union-attr]
            if mark.tag == "circle":
                place = float(mark.attrib["cx"]), float(mark.attrib["cy"])
            else:
                corners = [tuple(map(float, corner.split(","))) for corner in mark.attrib["points"].split()]
                place = (sum(x for x, _ in corners) / 4, sum(y for _, y in corners) / 4)
            found[number] = (mark.tag, *place)
        return found

    def words(self) -> list[str]:
        """Every text, in order of drawing."""
        return [e.text or "" for e in self.found("text")]


def line(element: ElementTree.Element) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2."""
    x1, y1, x2, y2 = (float(element.attrib[key]) for key in ("x1", "y1", "x2", "y2"))
    return x1, y1, x2, y2


def points(path: ElementTree.Element) -> list[tuple[float, float]]:
    """Corners of a path."""
    steps = path.attrib["d"].strip("MZ").split(" L")
    return [(float(x), float(y)) for x, y in (step.split(",") for step in steps)]
