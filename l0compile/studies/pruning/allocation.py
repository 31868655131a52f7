"""Which level each gated layer gets: the allocation of least loss within a budget of time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from l0compile.studies.pruning.coupled import Around, Coupled, couple
from l0compile.studies.pruning.knapsack import solve_knapsack
from l0compile.studies.pruning.level import Level, Numbers, Shape, has_kernel
from l0compile.studies.pruning.options import ChoiceGroup, Options
from l0compile.studies.pruning.prices import LinearCall, Pricing
from l0compile.studies.pruning.prune import PruningPath
from l0compile.studies.pruning.rounding import RoundingLosses
from l0compile.studies.pruning.units import UnitGroup

_Cases = tuple[tuple[Level, ...], ...]
_AS_THEY_ARE: Mapping[Numbers, float] = {"float32": 0.0}


@dataclass(frozen=True)
class Menu:
    """Every level that gated layers, and the heads and neurons that they read, can have.

    layers: name -> levels while all heads and neurons are open. paths: name -> block shape -> path. units: the names
    that are heads or neurons of a layer. coupled: the levels of layers while some of their heads or neurons are closed.
    float_ms: the time of all layers dense in float32.
    """

    layers: Mapping[str, tuple[Level, ...]]
    paths: Mapping[str, Mapping[Shape, PruningPath]]
    units: Mapping[str, UnitGroup] = field(default_factory=dict)
    coupled: tuple[Coupled, ...] = ()
    float_ms: float = 0.0

    @classmethod
    def of(
        cls,
        paths: Mapping[str, Mapping[Shape, PruningPath]],
        calls: Mapping[str, LinearCall],
        prices: Pricing,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        units: Mapping[str, UnitGroup] | None = None,
        rounding: RoundingLosses | None = None,
    ) -> "Menu":
        """Price every level of ``paths``.

        Args:
            paths: name -> block shape -> path.
            calls: how each layer is called.
            prices: what a level of a layer takes.
            ranges: name -> lowest and highest density allowed; default [0, 1].
            units: the names of ``paths`` that are heads or neurons.
            rounding: the precisions that each layer may have, for layers beside no heads or neurons; default: float32.
        """
        units, rounding, layers = units or {}, rounding or {}, {}
        float_ms = sum(group.ms for group in units.values())
        for name, by_shape in paths.items():
            if name in units:
                levels = _levels(by_shape, _in_proportion(units[name].ms), _AS_THEY_ARE)
            else:
                levels = _levels(by_shape, partial(prices.ms, calls[name]), rounding.get(name, _AS_THEY_ARE))
                float_ms += prices.ms(calls[name], None, 1.0)
            low, high = (ranges or {}).get(name, (0.0, 1.0))
            inside = tuple(level for level in levels if low <= level.density <= high)
            # If the range lies between two levels, keep the one above it.
            layers[name] = inside or (min(levels, key=lambda level: (level.density < low, level.density)),)
        return cls(layers, paths, units, _coupled(layers, paths, calls, prices, units), float_ms)

    @property
    def dense_ms(self) -> float:
        """The time of all layers at their slowest level."""
        return sum(max(level.ms for level in levels) for levels in self.layers.values())

    @property
    def least_ms(self) -> float:
        """The time of all layers at their fastest choice."""
        return sum(group.least_ms for _, group in self._groups({}))

    def allocate(self, budget_ms: float, weights: Mapping[str, float] | None = None) -> "Allocation":
        """Find the allocation of least loss within a budget.

        Args:
            budget_ms: the most time that the layers may take together, in milliseconds.
            weights: factor of each layer's loss; default 1.

        Raises:
            InfeasibleError: no allocation is that fast.
        """
        groups = self._groups(weights or {})
        solution = solve_knapsack([group for _, group in groups], budget_ms)
        found: dict[str, Level] = {}
        for (cases, _), choice in zip(groups, solution.choice, strict=True):
            chosen = zip(cases.items(), choice.options, strict=True)
            found |= {name: levels[choice.case][index] for (name, levels), index in chosen}
        return Allocation({name: found[name] for name in self.layers}, solution.gap)

    def alone(self, name: str, level: Level) -> Level:
        """Return ``level`` of an allocation as it is while no head or neuron is closed."""
        return next(other for other in self.layers[name] if _choice(other) == _choice(level))

    def restored(
        self,
        numbers: Mapping[str, tuple[Shape | None, int]],
        precisions: Mapping[str, Numbers] | None = None,
    ) -> "Allocation | None":
        """Return the allocation with these block shapes and level numbers; None if one of them no longer exists.

        precisions: of the layers that are not float32.
        """
        known = {name: [_choice(level) for level in levels] for name, levels in self.layers.items()}
        wanted = {
            name: (*number, (precisions or {}).get(name, "float32")) for name, number in numbers.items()
        }
        if set(wanted) != set(known) or any(wanted[name] not in found for name, found in known.items()):
            return None
        index = {name: known[name].index(wanted[name]) for name in known}
        found = {name: levels[index[name]] for name, levels in self.layers.items()}
        for coupled in self.coupled:
            case = index[coupled.units]
            found |= {
                name: cases[case][index[name]]
                for name, cases in coupled.levels.items()
                if name != coupled.units
            }
        return Allocation(found)

    def _groups(self, factors: Mapping[str, float]) -> list[tuple[Mapping[str, _Cases], ChoiceGroup]]:
        """For each group of layers that are chosen together: their levels by case, and the same for the knapsack."""
        together: list[Mapping[str, _Cases]] = [coupled.levels for coupled in self.coupled]
        seen = {name for levels in together for name in levels}
        together += [{name: (levels,)} for name, levels in self.layers.items() if name not in seen]
        return [(levels, _group(levels, factors)) for levels in together]


def _choice(level: Level) -> tuple[Shape | None, int, str]:
    return level.block, level.number, level.precision


def _levels(
    by_shape: Mapping[Shape, PruningPath],
    ms: Callable[[Shape | None, float, Numbers], float],
    rounding: Mapping[Numbers, float],
) -> list[Level]:
    """List the levels of a layer: dense and in each shape, in each precision that has kernels for it.

    What pruning and rounding lose adds up. A pruned layer loses by rounding what it has left to round.
    """
    found = []
    for precision, loss_of_all in rounding.items():
        found.append(Level(None, 0, 1.0, loss_of_all, ms(None, 1.0, precision), precision))
        for shape, path in by_shape.items():
            if has_kernel(shape, precision):
                for number, (density, loss) in enumerate(zip(path.densities, path.losses, strict=True)):
                    total = loss + density * loss_of_all
                    found.append(
                        Level(shape, number, density, total, ms(shape, density, precision), precision)
                    )
    return found


def _in_proportion(whole_ms: float) -> Callable[[Shape | None, float, Numbers], float]:
    return lambda shape, density, precision: density * whole_ms


def _group(layers: Mapping[str, _Cases], factors: Mapping[str, float]) -> ChoiceGroup:
    def options(name: str, levels: Sequence[Level]) -> Options:
        factor = factors.get(name, 1.0)
        return Options(tuple(factor * level.loss for level in levels), tuple(level.ms for level in levels))

    count = len(next(iter(layers.values())))
    return ChoiceGroup(
        tuple(tuple(options(name, cases[case]) for name, cases in layers.items()) for case in range(count))
    )


def _coupled(
    layers: Mapping[str, tuple[Level, ...]],
    paths: Mapping[str, Mapping[Shape, PruningPath]],
    calls: Mapping[str, LinearCall],
    prices: Pricing,
    units: Mapping[str, UnitGroup],
) -> tuple[Coupled, ...]:
    """Couple heads or neurons with the gated layers around them.

    A layer belongs to one coupling only: in a chain, to the one of the heads or neurons that it reads.
    """
    readers, found, seen = {group.layer for group in units.values()}, list[Coupled](), set[str]()
    for name, group in units.items():
        producers = [layer for layer in group.producers if layer in paths and layer not in readers | seen]
        seen |= set(producers)

        def around(layer: str, reads: bool) -> Around:
            call = calls[layer]
            return Around(paths[layer], layers[layer], reads, call.shape[reads], partial(prices.ms, call))

        near = {layer: around(layer, False) for layer in producers}
        if group.layer in paths:
            near[group.layer] = around(group.layer, True)
        if near:
            (path,) = paths[name].values()
            found.append(couple(name, path, group.saved, layers[name], near))
    return tuple(found)


@dataclass(frozen=True)
class Allocation:
    """One level for each layer.

    layers: name -> level. gap: the largest share by which the loss may exceed that of the best allocation of this time.
    """

    layers: Mapping[str, Level]
    gap: float = 0.0

    @property
    def ms(self) -> float:
        """The predicted time of all layers together, in milliseconds."""
        return sum(level.ms for level in self.layers.values())

    @property
    def loss(self) -> float:
        """The predicted loss, unweighted."""
        return sum(level.loss for level in self.layers.values())

    @property
    def precisions(self) -> dict[str, Numbers]:
        """The precision of each layer that is not float32."""
        return {n: level.precision for n, level in self.layers.items() if level.precision != "float32"}

    def to_json(self) -> dict[str, Any]:
        """Convert to layer -> [block shape such as "4x1" or None, density], and the precision if it is not float32."""
        return {
            name: [
                level.block and f"{level.block[0]}x{level.block[1]}",
                round(level.density, 4),
                *([] if level.precision == "float32" else [level.precision]),
            ]
            for name, level in self.layers.items()
        }


def worth_pruning(
    call: LinearCall,
    shapes: Sequence[Shape],
    prices: Pricing,
    slack: float = 1.02,
    precisions: Sequence[Numbers] = ("float32",),
) -> tuple[Shape, ...]:
    """Return the block shapes that can win in a layer, in one of the precisions.

    A shape can't win if it consists of whole smaller blocks that take as long: those lose less.

    Args:
        call: the layer and the size it is called at.
        shapes: the block shapes to choose from.
        prices: what a shape takes at a density.
        slack: how much longer the smaller blocks may take and still win.
        precisions: that the layer may have.
    """

    def beaten(shape: Shape, precision: Numbers) -> bool:
        return any(
            other != shape
            and shape[0] % other[0] == shape[1] % other[1] == 0
            and has_kernel(other, precision)
            and all(
                prices.ms(call, other, d, precision) <= slack * prices.ms(call, shape, d, precision)
                for d in (0.5, 0.2, 0.1, 0.05)
            )
            for other in shapes
        )

    return tuple(
        shape
        for shape in shapes
        if any(has_kernel(shape, precision) and not beaten(shape, precision) for precision in precisions)
    )
