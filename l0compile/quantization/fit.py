"""From what layers saw to the layers that replace them, each with its error."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.ir.ops.bfloat16 import rounded as bfloat16
from l0compile.ir.ops.int8_conv import without_groups
from l0compile.quantization.convolution import steps as steps_of
from l0compile.quantization.layers import (
    TOKEN_ZERO,
    Bfloat16Linear,
    Quantized,
    QuantizedConv2d,
    QuantizedLinear,
    token_steps,
)
from l0compile.quantization.observe import Observed
from l0compile.quantization.rounding import compensated, row_scales
from l0compile.quantization.scales import InputScale, choose_scale

Rounding = Literal["nearest", "compensated"]
NarrowLayer = tuple[nn.Module, float]
"""(the layer that replaces another, the relative squared error of its output)."""


WeightAndBias = tuple[nn.Parameter, nn.Parameter | None]
"""Weight and bias that a layer computes with, perhaps with the batch norm after it."""


def shared_inputs(seen: Mapping[str, Observed]) -> list[list[str]]:
    """Return the names of layers in groups: those of a group got the very same tensors, in windows of one size."""
    groups: dict[object, list[str]] = {}
    for name, observed in seen.items():
        groups.setdefault((tuple(observed.calls), observed.kernel), []).append(name)
    return list(groups.values())


def fit_int8(
    layers: Sequence[nn.Module],
    parameters: Sequence[WeightAndBias],
    seen: Sequence[Observed],
    rounding: Rounding,
    rough: bool = False,
    per_token: bool = False,
) -> list[NarrowLayer]:
    """Make 8-bit layers of those that share an input; they share the buffer ``inverse``, too.

    Args:
        layers: linear layers of one input width k, or convolutions with windows of one size.
        parameters: of each.
        seen: the inputs of each, at least one row.
        rounding, rough: see :func:`l0compile.quantization.quantize.quantize`.
    """
    # Zeros stand for the channels of other groups.
    groups = [layer.groups if isinstance(layer, nn.Conv2d) else 1 for layer in layers]
    weights = [
        _matrix(weight.detach(), number) for (weight, _), number in zip(parameters, groups, strict=True)
    ]
    taps = prod(seen[0].kernel)
    scale = choose_scale(seen[0].rows, seen[0].peak, torch.cat(weights), taps, rough)
    per_token = per_token and not seen[0].kernel
    scale = replace(scale, zero_point=TOKEN_ZERO) if per_token else scale
    inverse = scale.inverse if scale.inverse.numel() == 1 else scale.inverse[::taps].contiguous()
    inverse = inverse.reshape(-1, 1, 1) if seen[0].kernel else inverse
    made: list[NarrowLayer] = []
    for layer, own, observed, weight in zip(layers, parameters, seen, weights, strict=True):
        units = _by_token(observed.rows * scale.inverse) if per_token else scale.rounded(observed.rows)
        compensates = rounding == "compensated" and getattr(layer, "groups", 1) == 1
        narrow = _int8_layer(layer, own, weight, scale, inverse, units if compensates else None, per_token)
        stands_for = _matrix(narrow.rounded, narrow.groups) * narrow.scale[:, None]
        exact = observed.rows @ weight.T
        change = units @ stands_for.T - exact
        if narrow.bias is not None and not per_token:  # of tokens that differ much, the largest would decide
            # What rounding adds on average is known, and taking it away costs nothing.
            shift = change.mean(0)
            narrow.bias = nn.Parameter(narrow.bias.detach() - shift, narrow.bias.requires_grad)
            change = change - shift
        made.append((narrow, _share(change, exact)))
    return made


def fit_bfloat16(parameters: Sequence[WeightAndBias], seen: Sequence[Observed]) -> list[NarrowLayer]:
    """Make layers of bfloat16 factors; arguments as for ``fit_int8``."""
    made: list[NarrowLayer] = []
    for (weight, bias), observed in zip(parameters, seen, strict=True):
        exact = observed.rows @ weight.detach().T
        change = F.linear(bfloat16(observed.rows), bfloat16(weight.detach())) - exact
        made.append((Bfloat16Linear(weight, bias), _share(change, exact)))
    return made


def _int8_layer(
    layer: nn.Module,
    parameters: WeightAndBias,
    matrix: Tensor,
    scale: InputScale,
    inverse: Tensor,
    units: Tensor | None,
    per_token: bool,
) -> Quantized:
    """Round to the nearest, or so as to compensate for inputs ``units`` [rows, k]; ``matrix``: of the weight [n, k]."""
    weight, bias = parameters
    values = matrix / scale.inverse
    steps = row_scales(values)
    if units is not None:
        gram = units.T @ units / len(units)
        values = compensated(values, steps, gram, matrix != 0)
        weight = nn.Parameter((values * scale.inverse).reshape(weight.shape), weight.requires_grad)
    if isinstance(layer, nn.Conv2d):
        return QuantizedConv2d(weight, bias, inverse, steps, scale.zero_point, *steps_of(layer), layer.groups)
    return QuantizedLinear(weight, bias, inverse, steps, scale.zero_point, per_token)


def _by_token(scaled: Tensor) -> Tensor:
    """What the levels of tokens [rows, k] stand for."""
    step = token_steps(scaled)
    return (scaled / step).round() * step


def _matrix(weight: Tensor, groups: int) -> Tensor:
    return (weight if groups == 1 else without_groups(weight, groups)).flatten(1)


def _share(change: Tensor, exact: Tensor) -> float:
    total = float(exact.double().square().sum())
    return float(change.double().square().sum()) / total if total else 0.0
