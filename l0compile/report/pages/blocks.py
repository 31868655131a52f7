"""Which block shapes the chosen model of a search took for its target, alone or beside those of other targets."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from l0compile.report.pages.heat import breakable, common_prefix, kept, percent
from l0compile.report.pages.markup import Markup, tag
from l0compile.studies.result import SearchResult

_BAR = "#1d4ed8"


@dataclass(frozen=True)
class Share:
    """Of the layers with one block shape: how many, and their share of live weights; None: sizes are unknown."""

    layers: int
    live: float | None

    def __str__(self) -> str:
        return f"{self.layers} layer{'s' * (self.layers != 1)}" + (
            "" if self.live is None else f", {percent(self.live)}"
        )


@dataclass(frozen=True)
class Kind:
    """Layers of one place in the model, as ``layer.*.output``: how many took each shape, and their mean density."""

    shapes: Mapping[str, int]
    density: float

    def __str__(self) -> str:
        counts = ", ".join(f"{shape} in {count}" for shape, count in self.shapes.items())
        return f"{counts}; {percent(self.density)} left"


def target_name(result: SearchResult) -> str:
    """The machine that a search ran on, in a few words."""
    found = result.facts.get("machine", {}).get("fingerprint")
    if not isinstance(found, Mapping):
        return "this target"
    cores = [f"{found['cores']} cores"] if "cores" in found else []
    return ", ".join([str(found[key]) for key in ("model", "isa") if key in found] + cores) or "this target"


def shares(result: SearchResult) -> dict[str, Share]:
    """Block shape, "dense" or "none left" -> what of the chosen candidate took it; empty where layers are unknown."""
    chosen = result.chosen.layers if result.chosen else {}
    # "layer (heads)" has no weights of its own.
    layers = {name: layer for name, layer in chosen.items() if not name.endswith(")")}
    sizes = {r.name: math.prod(r.shape_before) for r in result.regions if r.kind == "linear"}
    known = all(name in sizes for name in layers)
    live = {name: sizes.get(name, 0) * kept(layer)[1] for name, layer in layers.items()}
    total = sum(live.values())
    names: dict[str, list[str]] = {}
    for name, layer in layers.items():
        names.setdefault(kept(layer)[0], []).append(name)
    return {
        shape: Share(len(found), sum(live[name] for name in found) / total if known and total else None)
        for shape, found in sorted(names.items(), key=lambda pair: block_order(pair[0]))
    }


def kinds(result: SearchResult) -> dict[str, Kind]:
    """Layer name with ``*`` for its numbers -> what the chosen candidate made of these layers."""
    layers = result.chosen.layers if result.chosen else {}
    found: dict[str, list[tuple[str, float]]] = {}
    for name, layer in layers.items():
        found.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", name), []).append(kept(layer))
    made = {}
    for name, items in found.items():
        shapes = [shape for shape, _ in items]
        counts = {shape: shapes.count(shape) for shape in sorted(set(shapes), key=block_order)}
        made[name] = Kind(counts, sum(density for _, density in items) / len(items))
    return made


def blocks_tables(results: Mapping[str, SearchResult]) -> Markup | None:
    """Shapes, then places in the model, by target; ``results``: by name. None where no result tells its layers."""
    counted = {name: shares(result) for name, result in results.items()}
    counted = {name: found for name, found in counted.items() if found}
    if not counted:
        return None
    heads = [_head(name, results[name], colspan=2) for name in counted]
    below = [tag("th", title) for _ in counted for title in ("layers", "share of live weights")]
    shapes = sorted({shape for found in counted.values() for shape in found}, key=block_order)
    rows = [
        tag(
            "tr",
            tag("th", shape, scope="row"),
            *(c for found in counted.values() for c in _cells(found.get(shape))),
        )
        for shape in shapes
    ]
    first = _table([tag("tr", tag("th", "block shape", rowspan=2), *heads), tag("tr", *below)], rows)
    by_kind = {name: kinds(results[name]) for name in counted}
    places = list(dict.fromkeys(place for found in by_kind.values() for place in found))
    prefix = common_prefix(places)
    rows = [
        tag(
            "tr",
            tag("th", *breakable(place[len(prefix) :]), scope="row", class_="code"),
            *(tag("td", found.get(place, "–")) for found in by_kind.values()),
        )
        for place in places
    ]
    second = _table([tag("tr", tag("th", "layers"), *(_head(name, results[name]) for name in counted))], rows)
    return tag("div", first, second)


def _table(head: list[Markup], rows: list[Markup]) -> Markup:
    return tag(
        "div", tag("table", tag("thead", *head), tag("tbody", *rows), class_="blocks"), class_="scroll"
    )


def _head(name: str, result: SearchResult, **attributes: object) -> Markup:
    machine = target_name(result)
    return tag(
        "th", *dict.fromkeys([name, "" if name == machine else f" ({machine})"]), scope="col", **attributes
    )


def _cells(share: Share | None) -> list[Markup]:
    if share is None:
        return [tag("td", "–", class_="n"), tag("td", "–")]
    if share.live is None:
        return [tag("td", share.layers, class_="n"), tag("td", "sizes unknown")]
    bar = tag("span", tag("span", style=f"width:{100 * share.live:.1f}%;background:{_BAR}"), class_="bar")
    return [tag("td", share.layers, class_="n"), tag("td", bar, f" {percent(share.live)}", class_="whole")]


def block_order(shape: str) -> tuple[int, int, str]:
    """Dense first, then blocks from small to large, then what is gone."""
    numbers = [int(part) for part in shape.split("×") if part.isdigit()]
    return (0 if shape == "dense" else 2 if shape == "none left" else 1, math.prod(numbers), shape)
