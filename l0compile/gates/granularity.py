"""What one gate covers, and where it is applied. Each granularity is a frozen value; its docstring is the contract.

Shapes: a matched ``nn.Linear`` has ``weight [out, in]``, input ``[..., in]`` and output ``[..., out]``. ``grid`` is the
shape of the gates, ``block`` the ``block`` argument of ``torch.ops.l0compile.gate``.
"""

from dataclasses import dataclass
from typing import Literal

Site = Literal["weight", "input", "output"]


@dataclass(frozen=True)
class Feature:
    """One gate per feature (last dimension) of the module's *output*, bias included: grid ``[width]``, block ``[1]``.

    ``width`` is read from ``nn.Linear``, ``nn.LayerNorm``, ``nn.RMSNorm`` and ``nn.Embedding``; give it for other
    modules. A module that returns a tuple is gated in its first element.
    """

    width: int | None = None


@dataclass(frozen=True)
class Neuron:
    """One gate per feature of the *input* of an ``nn.Linear``: grid ``[in]``, block ``[1]``.

    On the down projection of a feed-forward layer this gates the neurons after their activation, so a closed
    neuron contributes exactly nothing.
    """


@dataclass(frozen=True)
class Head:
    """One gate per attention head on the *input* of the output projection: grid ``[count]``, block ``[in / count]``.

    The input is the concatenation of ``count`` heads of equal size.
    """

    count: int


@dataclass(frozen=True)
class Block:
    """One gate per ``rows x cols`` block of the *weight* of an ``nn.Linear``; block ``[rows, cols]``.

    Grid ``[ceil(out / rows), ceil(in / cols)]``: blocks at the end of a dimension may be ragged. The bias is not gated.
    """

    rows: int
    cols: int


@dataclass(frozen=True)
class Layer:
    """One gate on the module's whole *output*, bias included: grid ``[1]``, block ``[width]``.

    A module that returns a tuple is gated in its first element.
    """


Granularity = Feature | Neuron | Head | Block | Layer

_SITES: dict[type, Site] = {
    Feature: "output",
    Neuron: "input",
    Head: "input",
    Block: "weight",
    Layer: "output",
}


def site(granularity: Granularity) -> Site:
    """The tensor that the gate multiplies."""
    return _SITES[type(granularity)]


def gate_name(granularity: Granularity) -> str:
    """Name of the gate submodule inside the gated module: ``l0_block``, ``l0_head``, ..."""
    return f"l0_{type(granularity).__name__.lower()}"
