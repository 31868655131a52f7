"""What a model is to keep: for each gated layer one level of one block shape, chosen under a budget of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from l0compile.pruning.bundle import Bundle, Options
from l0compile.pruning.coupled import Around, Coupled, couple
from l0compile.pruning.knapsack import allocate
from l0compile.pruning.level import Level, Shape
from l0compile.pruning.parts import Part
from l0compile.pruning.prices import Pricing, Site
from l0compile.pruning.prune import Path

_Cases = tuple[tuple[Level, ...], ...]


@dataclass(frozen=True)
class Menu:
    """Everything that gated layers can be, and the heads and neurons that they read.

    layers: name -> levels, where all heads and neurons are left; paths: name -> block shape -> path; parts: those names
    that are no layers; coupled: what layers are where some of a part are closed.
    """

    layers: Mapping[str, tuple[Level, ...]]
    paths: Mapping[str, Mapping[Shape, Path]]
    parts: Mapping[str, Part] = field(default_factory=dict)
    coupled: tuple[Coupled, ...] = ()

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
        return cls(layers, paths, parts, _coupled(layers, paths, sites, prices, parts))

    @property
    def dense_ms(self) -> float:
        """All layers as near to dense as they may be."""
        return sum(max(level.ms for level in levels) for levels in self.layers.values())

    @property
    def least_ms(self) -> float:
        """All layers as quick as they may be."""
        return sum(bundle.least_ms for _, bundle in self._bundles({}))

    def plan(self, budget_ms: float, weights: Mapping[str, float] | None = None) -> "Plan":
        """The plan of least loss whose layers together take at most ``budget_ms``.

        weights: factor of the loss of each layer; default 1. Raises: ConfigError if no plan is as quick as that.
        """
        bundles = self._bundles(weights or {})
        allocation = allocate([bundle for _, bundle in bundles], budget_ms)
        found: dict[str, Level] = {}
        for (cases, _), choice in zip(bundles, allocation.choice, strict=True):
            chosen = zip(cases.items(), choice.options, strict=True)
            found |= {name: levels[choice.case][index] for (name, levels), index in chosen}
        return Plan({name: found[name] for name in self.layers}, allocation.gap)

    def alone(self, name: str, level: Level) -> Level:
        """A level of a plan as it is where no head or neuron is closed."""
        return next(o for o in self.layers[name] if (o.block, o.number) == (level.block, level.number))

    def restored(self, numbers: Mapping[str, tuple[Shape | None, int]]) -> "Plan | None":
        """The plan of these block shapes and numbers of levels; None where one of them is not there."""
        places = {
            name: [(level.block, level.number) for level in levels] for name, levels in self.layers.items()
        }
        if set(numbers) != set(places) or any(numbers[name] not in found for name, found in places.items()):
            return None
        index = {name: places[name].index(numbers[name]) for name in places}
        plan = {name: levels[index[name]] for name, levels in self.layers.items()}
        for coupled in self.coupled:
            case = index[coupled.part]
            plan |= {
                name: cases[case][index[name]]
                for name, cases in coupled.levels.items()
                if name != coupled.part
            }
        return Plan(plan)

    def _bundles(self, factors: Mapping[str, float]) -> list[tuple[Mapping[str, _Cases], Bundle]]:
        """What is chosen together: the levels of its layers by case, and as options of the knapsack."""
        together: list[Mapping[str, _Cases]] = [coupled.levels for coupled in self.coupled]
        seen = {name for levels in together for name in levels}
        together += [{name: (levels,)} for name, levels in self.layers.items() if name not in seen]
        return [(levels, _bundle(levels, factors)) for levels in together]


def _bundle(layers: Mapping[str, _Cases], factors: Mapping[str, float]) -> Bundle:
    def options(name: str, levels: Sequence[Level]) -> Options:
        factor = factors.get(name, 1.0)
        return Options(tuple(factor * level.loss for level in levels), tuple(level.ms for level in levels))

    count = len(next(iter(layers.values())))
    return Bundle(
        tuple(tuple(options(name, cases[case]) for name, cases in layers.items()) for case in range(count))
    )


def _coupled(
    layers: Mapping[str, tuple[Level, ...]],
    paths: Mapping[str, Mapping[Shape, Path]],
    sites: Mapping[str, Site],
    prices: Pricing,
    parts: Mapping[str, Part],
) -> tuple[Coupled, ...]:
    """Each part with the layers around it that have levels of their own. A layer goes with one part alone: in a chain
    with that which it reads."""
    readers, found, seen = {part.layer for part in parts.values()}, list[Coupled](), set[str]()
    for name, part in parts.items():
        makers = [layer for layer in part.makers if layer in paths and layer not in readers | seen]
        seen |= set(makers)

        def around(layer: str, reads: bool) -> Around:
            site = sites[layer]
            return Around(paths[layer], layers[layer], reads, site.shape[reads], partial(prices.ms, site))

        near = {layer: around(layer, False) for layer in makers}
        if part.layer in paths:
            near[part.layer] = around(part.layer, True)
        if near:
            (path,) = paths[name].values()
            found.append(couple(name, path, part.saved, layers[name], near))
    return tuple(found)


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
