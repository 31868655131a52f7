"""What the heads and neurons of a space take on the device: what goes with them that no block's price tells."""

from collections.abc import Mapping

from torch import nn

from l0compile.gates import Head
from l0compile.gates.feeds import consumers_of
from l0compile.oneshot.parts import Part
from l0compile.oneshot.prices import Prices, sites
from l0compile.search.space import Space
from l0compile.tasks import Task


def parts_of(
    task: Task, space: Space, groups: Mapping[str, tuple[str, ...]], prices: Prices
) -> dict[str, Part]:
    """The heads and neurons that ``space`` gates, by name.

    Heads take attention between the projections. The layer that reads a part, and those that feed it (``space.feeds``),
    count in proportion where they have no gates on blocks.
    """
    model = task.dense()
    blocks = {name for group in space.gates if group.kind == "block" for name in groups[group.name]}
    feeders: dict[str, list[str]] = {}
    for producer, consumer in consumers_of(dict(model.named_modules()), space.feeds).items():
        feeders.setdefault(consumer, []).append(producer)
    found: dict[str, Part] = {}
    for group in space.gates:
        for layer in groups[group.name] if group.kind != "block" else ():
            granularity = group.granularity(None)
            around = [name for name in (layer, *feeders.get(layer, ())) if name not in blocks]
            linear = tuple(name for name in around if isinstance(model.get_submodule(name), nn.Linear))
            places = sites(model, (layer, *linear), task.example())
            ms = sum(prices.ms(places[name], None, 1.0) for name in linear if name in places)
            if isinstance(granularity, Head) and layer in places:
                ms += prices.attention_ms(places[layer], granularity.count)
            part = Part(layer, granularity, ms)
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
