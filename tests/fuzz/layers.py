"""Operators with parameters: linear, convolutions, norms, scales."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.fuzz.operator_table import BOOLEAN, OPERATORS, WIDTHS, Attributes, Draw, Operator, nothing
from tests.fuzz.shape import Shape

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}


class Affine(nn.Module):
    """``x * weight + bias`` along one axis, either of them optional."""

    def __init__(self, shape: Shape, axis: int, scale: bool, shift: bool):
        super().__init__()
        size = [1] * shape.rank
        size[axis] = shape.small[axis]
        self.scale = nn.Parameter(torch.ones(size)) if scale else None
        self.shift = nn.Parameter(torch.zeros(size)) if shift else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.scale is None else x * self.scale
        return x if self.shift is None else x + self.shift


class HandRms(nn.Module):
    """RMSNorm as the language models write it."""

    def __init__(self, width: int, one: bool):
        super().__init__()
        self.weight, self.one = nn.Parameter(torch.ones(width)), one

    def forward(self, x: Tensor) -> Tensor:
        h = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        return (1 + self.weight) * h if self.one else self.weight * h


class FeedForward(nn.Module):
    """Up, activation, perhaps times a gate, down; perhaps a residual around all."""

    def __init__(self, width: int, hidden: int, gated: str, activation: str, residual: bool):
        super().__init__()
        self.up = nn.Linear(width, hidden * (2 if gated == "packed" else 1))
        self.gate = nn.Linear(width, hidden) if gated == "apart" else None
        self.down = nn.Linear(hidden, width)
        self.activation, self.packed, self.residual = getattr(F, activation), gated == "packed", residual

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        if self.packed:
            value, gate = h.chunk(2, -1)
            h = value * self.activation(gate)
        elif self.gate is not None:
            h = self.activation(h) * self.gate(x)
        else:
            h = self.activation(h)
        h = self.down(h)
        return x + h if self.residual else h


def last(x: Shape) -> bool:
    return x.floating and x.rank >= 2 and x.fixed(-1)


def spatial(x: Shape, least: int = 3) -> bool:
    return x.floating and x.rank in (3, 4) and x.channels() and x.at_least(least, range(2, x.rank))


def _linear(draw: Draw, x: Shape) -> Attributes:
    return {"width": draw(WIDTHS), "bias": draw(BOOLEAN)}


def _convolution(draw: Draw, x: Shape) -> Attributes:
    channels = x.small[1]
    groups = draw(st.sampled_from([g for g in (1, 2, 4, channels) if channels % g == 0]))
    kernel = draw(st.sampled_from([1, 3]))
    return {
        "outside": groups * draw(st.sampled_from([1, 2])) if groups == channels else draw(WIDTHS),
        "kernel_size": kernel,
        "stride": draw(st.sampled_from([1, 2])),
        "padding": draw(st.sampled_from([0, 1])) if kernel == 3 else 0,
        "groups": groups,
        "bias": draw(BOOLEAN),
    }


def _make_convolution(x: Shape, outside: int, groups: int, **settings: object) -> nn.Module:
    groups = groups if outside % groups == 0 else 1
    return CONVOLUTIONS[x.rank - 2](x.small[1], outside, groups=groups, **settings)


def _transposed(draw: Draw, x: Shape) -> Attributes:
    kernel = draw(st.sampled_from([2, 3]))
    return {"outside": draw(WIDTHS), "kernel_size": kernel, "stride": draw(st.sampled_from([1, 2]))}


def _group_norm(draw: Draw, x: Shape) -> Attributes:
    return {"groups": draw(st.sampled_from([g for g in (1, 2, 4) if x.small[1] % g == 0]))}


def _affine(draw: Draw, x: Shape) -> Attributes:
    scale = draw(BOOLEAN)
    return {"axis": draw(st.sampled_from(x.axes())), "scale": scale, "shift": not scale or draw(BOOLEAN)}


def _feed_forward(draw: Draw, x: Shape) -> Attributes:
    return {
        "hidden": draw(st.sampled_from([16, 8, 24])),
        "gated": draw(st.sampled_from(["no", "apart", "packed"])),
        "activation": draw(st.sampled_from(["relu", "gelu", "silu", "sigmoid", "tanh", "elu"])),
        "residual": draw(BOOLEAN),
    }


def _norm(draw: Draw, x: Shape) -> Attributes:
    return {"affine": draw(st.sampled_from([True, True, False]))}


OPERATORS.update(
    linear=Operator(lambda x, width, bias: nn.Linear(x.small[-1], width, bias), last, _linear),
    feed_forward=Operator(lambda x, **a: FeedForward(x.small[-1], **a), last, _feed_forward),
    convolution=Operator(_make_convolution, spatial, _convolution),
    transposed_convolution=Operator(
        lambda x, outside, **a: TRANSPOSED[x.rank - 2](x.small[1], outside, **a), spatial, _transposed
    ),
    layer_norm=Operator(
        lambda x, affine: nn.LayerNorm(x.small[-1], elementwise_affine=affine),
        lambda x: last(x) and x.small[-1] >= 4,
        _norm,
    ),
    rms_norm=Operator(
        lambda x, affine: nn.RMSNorm(x.small[-1], eps=1e-5, elementwise_affine=affine), last, _norm
    ),
    hand_rms=Operator(lambda x, one: HandRms(x.small[-1], one), last, lambda draw, x: {"one": draw(BOOLEAN)}),
    batch_norm=Operator(
        lambda x: BATCH_NORMS[x.rank](x.small[1]),
        lambda x: x.floating and x.rank in BATCH_NORMS and x.channels(),
        nothing,
    ),
    group_norm=Operator(
        lambda x, groups: nn.GroupNorm(groups, x.small[1]),
        lambda x: spatial(x, 2) and x.small[1] >= 4,
        _group_norm,
    ),
    affine=Operator(Affine, lambda x: x.floating and x.axes(2) != [], _affine),
    embedding=Operator(
        lambda x, width: nn.Embedding(11, width),
        lambda x: x.dtype == torch.int64 and x.rank == 2,
        lambda draw, x: {"width": draw(WIDTHS)},
    ),
)
