"""From what layers saw to the layers that replace them, each with its error."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.ir.ops.bfloat16 import rounded as bfloat16
from l0compile.quantization.eligible import bias_of, weight_of
from l0compile.quantization.layers import Bfloat16Linear, QuantizedLinear
from l0compile.quantization.observe import Observed
from l0compile.quantization.rounding import compensated, row_scales
from l0compile.quantization.scales import InputScale, choose_scale

Rounding = Literal["nearest", "compensated"]
NarrowLayer = tuple[nn.Module, float]
"""(the layer that replaces another, the relative squared error of its output)."""


def shared_inputs(seen: Mapping[str, Observed]) -> list[list[str]]:
    """Return the names of layers in groups: those of a group got the very same tensors in every call."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, observed in seen.items():
        groups.setdefault(tuple(observed.calls), []).append(name)
    return list(groups.values())


def fit_int8(layers: Sequence[nn.Module], observed: Observed, rounding: Rounding) -> list[NarrowLayer]:
    """Make 8-bit layers of those that share an input; they share the buffer ``inverse``, too.

    Args:
        layers: linear layers of one input width k.
        observed: the inputs, at least one row.
        rounding: see :func:`l0compile.quantization.quantize.quantize`.
    """
    weights = [weight_of(layer) for layer in layers]
    scale = choose_scale(observed.rows, observed.peak, torch.cat([weight.detach() for weight in weights]))
    units = scale.rounded(observed.rows)
    made: list[NarrowLayer] = []
    for layer, weight in zip(layers, weights, strict=True):
        narrow = _int8_layer(weight, bias_of(layer), scale, units if rounding == "compensated" else None)
        stands_for = narrow.rounded * narrow.scale[:, None]
        exact = observed.rows @ weight.detach().T
        change = units @ stands_for.T - exact
        if narrow.bias is not None:
            # What rounding adds on average is known, and taking it away costs nothing.
            shift = change.mean(0)
            narrow.bias = nn.Parameter(narrow.bias.detach() - shift, narrow.bias.requires_grad)
            change = change - shift
        made.append((narrow, _share(change, exact)))
    return made


def fit_bfloat16(layers: Sequence[nn.Module], observed: Observed) -> list[NarrowLayer]:
    """Make layers of bfloat16 factors; arguments as for ``fit_int8``."""
    made: list[NarrowLayer] = []
    for layer in layers:
        weight = weight_of(layer)
        exact = observed.rows @ weight.detach().T
        change = F.linear(bfloat16(observed.rows), bfloat16(weight.detach())) - exact
        made.append((Bfloat16Linear(weight, bias_of(layer)), _share(change, exact)))
    return made


def _int8_layer(
    weight: nn.Parameter, bias: nn.Parameter | None, scale: InputScale, units: Tensor | None
) -> QuantizedLinear:
    """Round to the nearest, or so as to compensate for inputs ``units`` [rows, k]."""
    values = weight.detach() / scale.inverse
    steps = row_scales(values)
    if units is not None:
        gram = units.T @ units / len(units)
        values = compensated(values, steps, gram, weight.detach() != 0)
        weight = nn.Parameter(values * scale.inverse, weight.requires_grad)
    return QuantizedLinear(weight, bias, scale.inverse, steps, scale.zero_point)


def _share(change: Tensor, exact: Tensor) -> float:
    total = float(exact.double().square().sum())
    return float(change.double().square().sum()) / total if total else 0.0
