"""What a model is to keep: for each gated layer one level of one block shape, chosen under a budget of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l0compile.oneshot.knapsack import Options, allocate
from l0compile.oneshot.parts import Part
from l0compile.oneshot.prices import Pricing, Site
from l0compile.oneshot.prune import Path

Shape = tuple[int, int]


@dataclass(frozen=True)
class Level:
    """One way to leave a layer, or the heads or neurons that it reads.

    block: shape; None: as it is. number: level of the path of that shape. density: share of its blocks left.
    loss: that the model has by it. ms: what the layer then takes.
    """

    block: Shape | None
    number: int
    density: float
    loss: float
    ms: float


@dataclass(frozen=True)
class Menu:
    """Everything that gated layers can be, and the heads and neurons that they read.

    layers: name -> levels; paths: name -> block shape -> path; parts: those names that are no layers.
    """

    layers: Mapping[str, tuple[Level, ...]]
    paths: Mapping[str, Mapping[Shape, Path]]
    parts: Mapping[str, Part] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        paths: Mapping[str, Mapping[Shape, Path]],
        sites: Mapping[str, Site],
        prices: Pricing,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        parts: Mapping[str, Part] | None = None,
    ) -> "Menu":
        """The levels of every name in ``paths`` with their times; ``ranges``: of densities, default [0, 1]."""
        parts, layers = parts or {}, {}
        for name, by_shape in paths.items():

            def ms(shape: Shape | None, density: float, name: str = name) -> float:
                return density * parts[name].ms if name in parts else prices.ms(sites[name], shape, density)

            levels = [Level(None, 0, 1.0, 0.0, ms(None, 1.0))]
            for shape, path in by_shape.items():
                for number, (density, loss) in enumerate(zip(path.densities, path.losses, strict=True)):
                    levels.append(Level(shape, number, density, loss, ms(shape, density)))
            low, high = (ranges or {}).get(name, (0.0, 1.0))
            inside = tuple(level for level in levels if low <= level.density <= high)
            # A range that lies between two levels leaves the one above it.
            layers[name] = inside or (min(levels, key=lambda level: (level.density < low, level.density)),)
        return cls(layers, paths, parts)

    @property
    def dense_ms(self) -> float:
        """All layers as near to dense as they may be."""
        return sum(max(level.ms for level in levels) for levels in self.layers.values())

    @property
    def least_ms(self) -> float:
        """All layers as quick as they may be."""
        return sum(min(level.ms for level in levels) for levels in self.layers.values())

    def plan(self, budget_ms: float, weights: Mapping[str, float] | None = None) -> "Plan":
        """The plan of least loss whose layers together take at most ``budget_ms``.

        weights: factor of the loss of each layer; default 1. Raises: ConfigError if no plan is as quick as that.
        """
        factors = [(weights or {}).get(name, 1.0) for name in self.layers]
        units = [
            Options(tuple(factor * level.loss for level in levels), tuple(level.ms for level in levels))
            for factor, levels in zip(factors, self.layers.values(), strict=True)
        ]
        found = allocate(units, budget_ms)
        chosen = zip(self.layers.items(), found.choice, strict=True)
        return Plan({name: levels[index] for (name, levels), index in chosen}, found.gap)


@dataclass(frozen=True)
class Plan:
    """layers: name -> level. gap: share by which the loss may be above that of the best plan of that time."""

    layers: Mapping[str, Level]
    gap: float = 0.0

    @property
    def ms(self) -> float:
        """What the layers take together."""
        return sum(level.ms for level in self.layers.values())

    @property
    def loss(self) -> float:
        """Predicted loss, unweighted."""
        return sum(level.loss for level in self.layers.values())

    def to_json(self) -> dict[str, Any]:
        """Layer -> [block shape as "4x1" or None, density]."""
        return {
            name: [level.block and f"{level.block[0]}x{level.block[1]}", round(level.density, 4)]
            for name, level in self.layers.items()
        }


def worth_pruning(
    site: Site, shapes: Sequence[Shape], prices: Pricing, slack: float = 1.02
) -> tuple[Shape, ...]:
    """Of block shapes those that can win: one made of whole blocks of another that takes as long has no advantage.

    slack: how much longer the smaller blocks may take; what they lose less is worth more than that.
    """

    def beaten(shape: Shape) -> bool:
        return any(
            other != shape
            and shape[0] % other[0] == shape[1] % other[1] == 0
            and all(
                prices.ms(site, other, d) <= slack * prices.ms(site, shape, d) for d in (0.5, 0.2, 0.1, 0.05)
            )
            for other in shapes
        )

    return tuple(shape for shape in shapes if not beaten(shape))
