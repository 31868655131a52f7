"""The heads and neurons of a space, and the time that they take beside the blocks of layers."""

from collections.abc import Mapping

from torch import nn

from l0compile.gates import Head
from l0compile.gates.feeds import consumers_of
from l0compile.studies.pruning.prices import Prices, linear_calls
from l0compile.studies.pruning.units import UnitGroup
from l0compile.studies.space.space import Space
from l0compile.tasks import Task


def units_of(
    task: Task, space: Space, groups: Mapping[str, tuple[str, ...]], prices: Prices
) -> dict[str, UnitGroup]:
    """Return the heads and neurons that ``space`` gates, by name.

    Heads take the time of attention between the projections. The layer that reads the units, and those that feed it
    (``space.feeds``), count in proportion if their blocks have no gates. Otherwise the units know those that feed them.
    """
    modules = dict(task.dense().named_modules())
    feeders = consumers_of(modules, space.feeds)
    linear = tuple(name for name, module in modules.items() if isinstance(module, nn.Linear))
    calls = linear_calls(modules[""], linear, task.example())
    blocks = {name for group in space.gates if group.kind == "block" for name in groups[group.name]}
    found: dict[str, UnitGroup] = {}
    for group in space.gates:
        granularity = group.granularity(None)
        for layer in groups[group.name] if group.kind != "block" else ():
            producers = tuple(name for name, consumer in feeders.items() if consumer == layer)
            ms = sum(
                prices.ms(calls[name], None, 1.0)
                for name in (layer, *producers)
                if name in calls and name not in blocks
            )
            if isinstance(granularity, Head) and layer in calls:
                ms += prices.attention_ms(calls[layer], granularity.count)
            units = UnitGroup(layer, granularity, ms, tuple(name for name in producers if name in blocks))
            found[units.name] = units
    return found


def members_of(space: Space, groups: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return what each group of ``space`` chooses for: its layers, or their heads or neurons."""
    return {
        group.name: tuple(
            layer if group.kind == "block" else UnitGroup(layer, group.granularity(None), 0.0).name
            for layer in groups[group.name]
        )
        for group in space.gates
    }
