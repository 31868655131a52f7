"""How inputs are scaled to 8 bits: one scale and zero point, and factors that move outliers into the weights.

An input feature f is divided by ``m_f`` and the weights of its column multiplied by it, which changes nothing before
rounding (SmoothQuant, arXiv 2211.10438, with ``m_f = max|x_f|^a / max|w_f|^(1-a)``). Here the division costs nothing:
it is part of the scale. Candidates are compared by the squared error of the layer's output on a sample of inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from l0compile.ir.ops.quantized import LEVELS
from l0compile.quantization.rounding import row_scales, to_grid

STRENGTHS = (0.0, 0.35, 0.5, 0.65, 0.8)
"""What ``a`` is chosen from; 0 stands for no factors at all."""
_USUAL = 0.5
CUTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Shares of the range of values that the range of integers is chosen from; what is beyond is clamped."""
# Features and columns that are 0, or nearly, count as this share of the largest, so that no factor is extreme.
_FLOOR = 1e-3
_SMALLEST = 1e-30


@dataclass(frozen=True)
class InputScale:
    """How an input becomes integers: round(x * inverse) + zero_point.

    Attributes:
        inverse: [k] or [1] float32.
        zero_point: even, from 0 to 254. Twice a 7-bit number, it can be subtracted in 8 bits.
    """

    inverse: Tensor
    zero_point: int

    def rounded(self, x: Tensor) -> Tensor:
        """Return what the integers of x [..., k] stand for, float32 [..., k], in units of the scale."""
        return (x * self.inverse).round().clamp(-self.zero_point, LEVELS - self.zero_point)


def choose_scale(
    rows: Tensor, peak: Tensor, weight: Tensor, taps: int = 1, rough: bool = False
) -> InputScale:
    """Choose strength and range by the squared error of the outputs.

    Args:
        rows: [rows, k] float32, a sample of inputs.
        peak: [k] float32, the largest magnitude of each feature.
        weight: [n, k] float32; layers that share the input, below one another.
        taps: neighbouring features that are the same channel at several places and share a scale.
        rough: take what is good most of the time instead.

    Returns:
        The best of the candidates; scale 1 if the inputs are all 0.
    """
    if rough:
        return _fit_range(rows, weight, _factors(peak, weight, _USUAL, taps), CUTS[:1])
    wanted = rows @ weight.T
    best, least = InputScale(torch.ones(1), 0), float("inf")
    for strength in STRENGTHS:
        scale = _fit_range(rows, weight, _factors(peak, weight, strength, taps))
        grid = row_scales(weight / scale.inverse)
        rounded = to_grid(weight / scale.inverse, grid) * grid[:, None]
        error = float((scale.rounded(rows) @ rounded.T - wanted).square().sum())
        if error < least:
            best, least = scale, error
    return best


def _factors(peak: Tensor, weight: Tensor, strength: float, taps: int) -> Tensor:
    """Return m [k], equal for the taps of a channel, or [1] without smoothing."""
    if strength == 0 or not bool(peak.any()) or not bool(weight.any()):
        return torch.ones(1)
    column = weight.abs().amax(0).reshape(-1, taps).amax(1).repeat_interleave(taps)
    peak = peak.clamp(min=_FLOOR * float(peak.max()))
    column = column.clamp(min=_FLOOR * float(column.max()))
    return peak.pow(strength) / column.pow(1 - strength)


def _fit_range(rows: Tensor, weight: Tensor, factors: Tensor, cuts: Sequence[float] = CUTS) -> InputScale:
    """Choose the range of integers for ``rows / factors``.

    The error of an output is estimated from those of the features as if they were independent, because this is tried
    many times: ``sum_f |w_f|^2 E[error_f^2]``.
    """
    scaled = rows / factors
    influence = (weight * factors).square().sum(0)
    low, high = min(float(scaled.min()), 0.0), max(float(scaled.max()), 0.0)
    if high - low < _SMALLEST:
        return InputScale(torch.ones(1), 0)
    best, least = None, float("inf")
    for cut in cuts:
        for candidate in _ranges(low, high, cut):
            step, zero_point = candidate
            found = (scaled / step).round().clamp(-zero_point, LEVELS - zero_point) * step
            error = float((found - scaled).square().sum(0) @ influence)
            if error < least:
                best, least = candidate, error
    assert best is not None
    # Inputs may be denormal numbers; a scale is an ordinary one.
    return InputScale((1 / (best[0] * factors)).clamp(1e-30, 1e30), best[1])


def _ranges(low: float, high: float, cut: float) -> list[tuple[float, int]]:
    """Return (step, zero point) for both ends cut, and for only the longer one."""
    ends = {(cut * low, cut * high), (low, cut * high) if high > -low else (cut * low, high)}
    made = []
    for bottom, top in sorted(ends):
        span = top - bottom
        zero_point = 2 * round(-bottom / span * LEVELS / 2)
        zero_point = min(zero_point, LEVELS - 1)
        # Rounding the zero point shortens one end; the step makes up for it.
        shares = [-bottom / zero_point if zero_point else 0.0, top / (LEVELS - zero_point)]
        made.append((max(*shares, span / LEVELS), zero_point))
    return made
