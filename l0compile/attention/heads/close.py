"""Closing the heads that are not needed, with gates that compiling takes away."""

from torch import nn

from l0compile.attention.heads.select import HeadSelection
from l0compile.gates.attach import attach
from l0compile.gates.gate import named_gates
from l0compile.gates.granularity import Head
from l0compile.gates.harden import harden

OPEN, CLOSED = 8.0, -8.0
"""Logarithms of the odds of gates that are surely open or closed."""


def close_heads(model: nn.Module, selection: HeadSelection) -> nn.Module:
    """Close all heads but those of a selection, in place.

    The other layers then work with what the open heads say, so answers change, and what follows from the heads is to be
    learned again: make a :class:`HeadClassifier` of the model that this returns.

    Args:
        model: The model that the heads were selected in. Its output projections must be called as modules and have no
            gates on their heads yet.
        selection: The heads that stay; layers that it has none of lose all.

    Returns:
        ``model`` itself, with hardened gates of ``Head`` on each output projection.
    """
    attach(model, {name: Head(count) for name, count in selection.layers.items()})
    gates = named_gates(model)
    kept = {(place.layer, place.head) for place in selection.heads}
    for name, count in selection.layers.items():
        alpha = gates[f"{name}.l0_head"].log_alpha.data
        for head in range(count):
            alpha[head] = OPEN if (name, head) in kept else CLOSED
        harden(model, values="binary", only=name)
    return model
