"""What one gate covers, and which tensor it multiplies.

Shapes: an ``nn.Linear`` has ``weight [out, in]``, input ``[..., in]`` and output ``[..., out]``. ``grid`` is the shape
of the gates; ``block`` is the size of what one gate covers, the ``block`` argument of ``torch.ops.l0compile.gate``.
"""

from dataclasses import dataclass
from typing import Literal

GateSite = Literal["weight", "input", "output"]


@dataclass(frozen=True)
class Feature:
    """One gate per feature (last dimension) of the module's *output*, bias included: grid ``[width]``, block ``[1]``.

    If a module returns a tuple, the gate multiplies its first element.

    Attributes:
        width: Number of features. ``nn.Linear``, ``nn.LayerNorm``, ``nn.RMSNorm`` and ``nn.Embedding`` say it
            themselves; for other modules it has to be given.
    """

    width: int | None = None


@dataclass(frozen=True)
class Neuron:
    """One gate per feature of the *input* of an ``nn.Linear``: grid ``[in]``, block ``[1]``.

    On the second layer of a feed-forward block this gates the neurons after their activation, so a closed neuron
    contributes exactly nothing.
    """


@dataclass(frozen=True)
class Head:
    """One gate per attention head on the *input* of the output projection: grid ``[count]``, block ``[in / count]``.

    The input is the concatenation of ``count`` heads of equal size.

    Attributes:
        count: Number of heads; it divides ``in``.
    """

    count: int


@dataclass(frozen=True)
class Block:
    """One gate per ``rows x cols`` block of the *weight* of an ``nn.Linear``; block ``[rows, cols]``.

    Grid ``[ceil(out / rows), ceil(in / cols)]``: the last block of a dimension may be smaller. The bias is not gated.

    Attributes:
        rows: Height of a block, in output features.
        cols: Width of a block, in input features.
    """

    rows: int
    cols: int


@dataclass(frozen=True)
class Layer:
    """One gate on the module's whole *output*, bias included: grid ``[1]``, block ``[width]``.

    If a module returns a tuple, the gate multiplies its first element.
    """


Granularity = Feature | Neuron | Head | Block | Layer

_SITES: dict[type, GateSite] = {
    Feature: "output",
    Neuron: "input",
    Head: "input",
    Block: "weight",
    Layer: "output",
}


def site(granularity: Granularity) -> GateSite:
    """Return which tensor of the module the gate multiplies."""
    return _SITES[type(granularity)]


def gate_name(granularity: Granularity) -> str:
    """Return the name of the gate inside its module: ``l0_block``, ``l0_head``, ..."""
    return f"l0_{type(granularity).__name__.lower()}"
