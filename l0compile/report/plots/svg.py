"""Pictures as SVG inside the page: a wide and a narrow drawing of the same facts, text that stays text."""

from collections.abc import Callable
from dataclasses import dataclass

from l0compile.report.pages.markup import Markup, tag
from l0compile.report.plots.scale import Scale

Draw = Callable[["Size"], list[Markup]]


@dataclass(frozen=True)
class Size:
    """Width and height in units of which one is a pixel where the page has room."""

    width: int
    height: int

    @property
    def narrow(self) -> bool:
        """Whether this is the drawing for a telephone."""
        return self.width < 500


WIDE, NARROW = Size(880, 430), Size(360, 380)
HALF = Size(430, 380)


def figure(draw: Draw, label: str, *caption: object, sizes: tuple[Size, ...] = (WIDE, NARROW)) -> Markup:
    """The drawing in one size, or in two of which the style sheet shows the one that fits.

    ``label`` says in a sentence what can be seen, for those who can't; ``caption`` is under the picture.
    """
    kinds = ("fits",) if len(sizes) == 1 else ("wide", "narrow")
    pictures = [
        tag(
            "svg",
            *draw(size),
            viewBox=f"0 0 {size.width} {size.height}",
            style=f"max-width:{size.width if kind != 'narrow' else 480}px",
            class_=kind,
            role="img",
            **{"aria-label": label},
        )
        for size, kind in zip(sizes, kinds, strict=True)
    ]
    return tag("figure", *pictures, tag("figcaption", *caption))


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """A straight line."""
    return tag("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), **attributes)


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: object) -> Markup:
    """Text on a baseline; ``anchor``: start, middle or end of it at ``x``."""
    return tag("text", words, x=_n(x), y=_n(y), **{"text-anchor": anchor}, **attributes)


def path(
    points: list[tuple[float, float]], closed: bool = False, words: str = "", **attributes: object
) -> Markup:
    """Straight lines through ``points``; ``words`` are shown where a mouse rests on them."""
    steps = " L".join(f"{_n(x)},{_n(y)}" for x, y in points)
    title = [tag("title", words)] if words else []
    return tag("path", *title, d=f"M{steps}{'Z' if closed else ''}", **attributes)


def dot(x: float, y: float, colour: str, note: str, shape: str = "disc") -> Markup:
    """A mark, ``shape``: disc, ring or diamond. ``note`` is shown where a mouse rests on it."""
    style = f"stroke:{colour};fill:{'#ffffff' if shape == 'ring' else colour}"
    if shape == "diamond":
        corners = [(x, y - 9), (x + 8, y), (x, y + 9), (x - 8, y)]
        steps = " ".join(f"{_n(a)},{_n(b)}" for a, b in corners)
        return tag("polygon", tag("title", note), points=steps, class_="dot", style=style)
    return tag("circle", tag("title", note), cx=_n(x), cy=_n(y), r=5, class_="dot", style=style)


def axes(x: Scale, y: Scale, x_title: str, y_title: str, size: Size) -> list[Markup]:
    """Grid, numbers and titles of a plot; the title of the upright axis lies above it, where it can be read."""
    parts: list[Markup] = []
    for value in x.ticks(4 if size.narrow else 8):
        parts.append(line(x(value), y.start, x(value), y.end, class_="grid"))
        parts.append(text(x(value), y.start + 18, f"{value:.4g}", "middle"))
    for value in y.ticks(6):
        parts.append(line(x.start, y(value), x.end, y(value), class_="grid"))
        parts.append(text(x.start - 7, y(value) + 4, f"{value:.4g}", "end"))
    parts.append(line(x.start, y.start, x.end, y.start, class_="axis"))
    parts.append(line(x.start, y.start, x.start, y.end, class_="axis"))
    parts.append(text((x.start + x.end) / 2, y.start + 38, x_title, "middle", class_="title"))
    parts.append(text(4, y.end - 12, y_title, class_="title"))
    return parts


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
