"""What each gated layer keeps in each fitted candidate: density as colour, block shape and density as text."""

from collections.abc import Sequence
from typing import Any

from l0compile.report.pages.fitted import in_layers
from l0compile.report.pages.markup import Markup, tag
from l0compile.report.plots.colours import density_colour, ink_on, swatch
from l0compile.studies.result import Candidate, SearchResult

_LEGEND = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)


def heat_map(result: SearchResult) -> Markup | None:
    """Layers in rows, candidates in columns, the chosen one first; None where no candidate tells its layers."""
    items = in_layers(result)
    if not items:
        return None
    names = list(dict.fromkeys(name for item in items for name in item.layers))
    prefix = common_prefix(names)
    head = tag("tr", tag("th", "layer"), *(_head(item) for item in items))
    rows = [
        tag(
            "tr",
            tag("th", *breakable(name[len(prefix) :]), scope="row"),
            *(_cell(item.layers.get(name)) for item in items),
        )
        for name in names
    ]
    legend: list[object] = []
    for density in _LEGEND:
        legend += [" ", tag("span", swatch(density_colour(density)), percent(density), class_="whole")]
    names_begin = f"Names begin with {prefix} here. " if prefix else ""
    said = f"{names_begin}A block is rows × columns of the weight [out, in]. Share of weights left:"
    return tag(
        "div",
        tag("p", said, *legend, class_="note"),
        tag("div", tag("table", tag("thead", head), tag("tbody", *rows), class_="heat"), class_="scroll"),
    )


def common_prefix(names: Sequence[str]) -> str:
    """What all module paths begin with, up to and with a dot; nothing for one name."""
    paths = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join([*shared, ""]) if len(names) > 1 else ""


def breakable(name: str) -> list[object]:
    """``name`` with places after its dots where a narrow page may break it."""
    first, *rest = name.split(".")
    return [first, *(part for piece in rest for part in (".", tag("wbr"), piece))]


def kept(layer: Sequence[Any]) -> tuple[str, float]:
    """Block shape in words and density of ``[shape or None, density]``."""
    shape, density = layer
    if not density:
        return "none left", 0.0
    return ("dense" if shape is None else str(shape).replace("x", "×")), float(density)


def percent(share: float) -> str:
    """A share of 1 in per cent, with a digit more where it is small."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def _head(item: Candidate) -> Markup:
    latency = f"{item.latency.median_ms:.3g} ms" if item.latency else "not measured"
    lines = [f"#{item.number}", latency, *(["chosen"] if item.chosen else [])]
    return tag("th", *(tag("div", line) for line in lines), scope="col")


def _cell(layer: Any) -> Markup:
    if layer is None:
        return tag("td", "–")
    shape, density = kept(layer)
    colour = density_colour(density)
    plain = shape in ("dense", "none left")
    words = [shape] if plain else [shape, " ", tag("span", percent(density), class_="whole")]
    return tag("td", *words, style=f"background:{colour};color:{ink_on(colour)}")
