"""What the heads and neurons of a space take on the device: what goes with them that no block's price tells."""

from collections.abc import Mapping

from torch import nn

from l0compile.gates import Head
from l0compile.gates.feeds import consumers_of
from l0compile.pruning.parts import Part
from l0compile.pruning.prices import Prices, sites
from l0compile.studies.space.space import Space
from l0compile.tasks import Task


def parts_of(
    task: Task, space: Space, groups: Mapping[str, tuple[str, ...]], prices: Prices
) -> dict[str, Part]:
    """The heads and neurons that ``space`` gates, by name.

    Heads take attention between the projections. The layer that reads a part, and those that feed it (``space.feeds``),
    count in proportion where they have no gates on blocks; where they have, the part knows those that feed it.
    """
    modules = dict(task.dense().named_modules())
    feeders = consumers_of(modules, space.feeds)
    linear = tuple(name for name, module in modules.items() if isinstance(module, nn.Linear))
    places = sites(modules[""], linear, task.example())
    blocks = {name for group in space.gates if group.kind == "block" for name in groups[group.name]}
    found: dict[str, Part] = {}
    for group in space.gates:
        granularity = group.granularity(None)
        for layer in groups[group.name] if group.kind != "block" else ():
            makers = tuple(name for name, consumer in feeders.items() if consumer == layer)
            ms = sum(
                prices.ms(places[name], None, 1.0)
                for name in (layer, *makers)
                if name in places and name not in blocks
            )
            if isinstance(granularity, Head) and layer in places:
                ms += prices.attention_ms(places[layer], granularity.count)
            part = Part(layer, granularity, ms, tuple(name for name in makers if name in blocks))
            found[part.name] = part
    return found


def members_of(space: Space, groups: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What each group of ``space`` chooses for: its layers, or their heads or neurons."""
    return {
        group.name: tuple(
            layer if group.kind == "block" else Part(layer, group.granularity(None), 0.0).name
            for layer in groups[group.name]
        )
        for group in space.gates
    }
