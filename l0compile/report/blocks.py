"""Which block shapes a search chose for its target, by shape and by place in the model."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l0compile.studies.result import SearchResult


@dataclass(frozen=True)
class ShapeShare:
    """The layers with one block shape.

    Attributes:
        layers: How many there are.
        live: Their share of all live weights; None where the sizes of layers are unknown.
    """

    layers: int
    live: float | None

    def __str__(self) -> str:
        return f"{self.layers} layer{'s' * (self.layers != 1)}" + (
            "" if self.live is None else f", {percent(self.live)}"
        )


@dataclass(frozen=True)
class LayerGroup:
    """Layers of one place in the model, such as ``layer.*.output``.

    Attributes:
        shapes: How many layers took each block shape.
        density: Mean density of the layers.
    """

    shapes: Mapping[str, int]
    density: float

    def __str__(self) -> str:
        counts = ", ".join(f"{shape} in {count}" for shape, count in self.shapes.items())
        return f"{counts}; {percent(self.density)} left"


def target_name(result: SearchResult) -> str:
    """Return the machine that a search ran on, in a few words."""
    found = result.facts.get("machine", {}).get("fingerprint")
    if not isinstance(found, Mapping):
        return "this target"
    cores = [f"{found['cores']} cores"] if "cores" in found else []
    return ", ".join([str(found[key]) for key in ("model", "isa") if key in found] + cores) or "this target"


def shape_shares(result: SearchResult) -> dict[str, ShapeShare]:
    """Return the layers of the chosen candidate by block shape; empty where its layers are unknown."""
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
        shape: ShapeShare(len(found), sum(live[name] for name in found) / total if known and total else None)
        for shape, found in sorted(names.items(), key=lambda pair: block_order(pair[0]))
    }


def layer_groups(result: SearchResult) -> dict[str, LayerGroup]:
    """Return the layers of the chosen candidate by name, with ``*`` in place of the numbers in it."""
    layers = result.chosen.layers if result.chosen else {}
    found: dict[str, list[tuple[str, float]]] = {}
    for name, layer in layers.items():
        found.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "*", name), []).append(kept(layer))
    groups = {}
    for name, items in found.items():
        shapes = [shape for shape, _ in items]
        counts = {shape: shapes.count(shape) for shape in sorted(set(shapes), key=block_order)}
        groups[name] = LayerGroup(counts, sum(density for _, density in items) / len(items))
    return groups


def block_order(shape: str) -> tuple[int, int, str]:
    """Return a sort key: dense first, then blocks from small to large, then what is gone; the precision comes last."""
    block = shape.partition(" ")[0]
    numbers = [int(part) for part in block.split("×") if part.isdigit()]
    return (0 if block == "dense" else 2 if shape == "none left" else 1, math.prod(numbers), shape)


def kept(layer: Sequence[Any]) -> tuple[str, float]:
    """Return block shape or pattern in words, such as "4×4 int8", and density of ``[shape or None, density]``.

    A third item is the precision; without it, it is float32.
    """
    shape, density, *precision = layer
    if not density:
        return "none left", 0.0
    block = "dense" if shape is None else re.sub(r"(?<=\d)x(?=\d)", "×", str(shape))
    return " ".join((block, *precision)), float(density)


def percent(share: float) -> str:
    """Return a share of 1 in per cent, with a digit more where it is small."""
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def common_prefix(names: Sequence[str]) -> str:
    """Return what all module paths begin with, up to and with a dot; nothing for one name."""
    paths = [name.split(".")[:-1] for name in names]
    shared: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join([*shared, ""]) if len(names) > 1 else ""
