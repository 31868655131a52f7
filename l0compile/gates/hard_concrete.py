"""The hard-concrete distribution: a stretched, clamped sigmoid of logistic noise, with mass at exactly 0 and 1.

Formulas and constants: Louizos, Welling, Kingma, "Learning Sparse Neural Networks through L0 Regularization",
ICLR 2018 (arXiv 1712.01312), sections 2.2 and 4: ``gamma = -0.1``, ``zeta = 1.1``, ``beta = 2/3``.
All functions are elementwise and take ``log_alpha`` of any shape and floating dtype.
"""

from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

GAMMA = -0.1
ZETA = 1.1
BETA = 2.0 / 3.0

#: ``log_alpha`` at and below which the median gate is exactly 0; P(open) is 1/2 there for every beta.
CLOSED_AT = BETA * log(-GAMMA / ZETA)
#: ``log_alpha`` at and above which the median gate is exactly 1.
OPEN_AT = -CLOSED_AT
#: Bound on ``|log_alpha|``. +-log(100), the usual choice, floors P(open) at 0.047 and so caps the expected
#: sparsity at 95 %; at 8 the floor is 0.0017.
LOG_ALPHA_BOUND = 8.0
_LEVELS = 1 << 16
# Up to this many gates, a sample takes as long as its operators take to call, and beyond, as its numbers take to make.
_FEW = 4096
# The least distance of u from 0, which torch.rand can return: logit(u) is finite.
_EDGE = 2.0**-25


def _stretch(gate: Tensor) -> Tensor:
    return (gate * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)


class _HardConcreteSample(torch.autograd.Function):
    """One sample. Its derivative follows from the sample itself, so nothing else is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, log_alpha: Tensor, generator: torch.Generator | None) -> Tensor:
        z = _logistic_noise(log_alpha, generator).add_(log_alpha).mul_(1.0 / BETA).sigmoid_()
        z.mul_(ZETA - GAMMA).add_(GAMMA).clamp_(0.0, 1.0)
        ctx.save_for_backward(z)
        return z

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # With s = (z - gamma) / (zeta - gamma): dz/dlog_alpha = (zeta - gamma) s (1 - s) / beta, 0 where clamped.
        # That is c (z - gamma) (zeta - z) = c (z (1 - z) - gamma zeta), as gamma + zeta = 1.
        (z,) = ctx.saved_tensors
        c = 1.0 / (BETA * (ZETA - GAMMA))
        # This is hardtanh's derivative: the gradient, and 0 where z is at a bound.
        inside = torch.ops.aten.hardtanh_backward(grad, z, 0.0, 1.0)
        curved = torch.ops.aten.sigmoid_backward(inside, z)  # times z (1 - z)
        return inside.mul_(-c * GAMMA * ZETA).add_(curved, alpha=c), None


def _logistic_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return ``logit(u)`` in the shape and dtype of ``like``; u is uniform on the middles of 65,536 equal intervals.

    PyTorch draws one number at a time on a CPU, and that took longer than all the rest of a sample. Four numbers from
    each draw of 64 bits move P(open) by no more than 2^-17. Of few gates, u has all the bits of PyTorch's own draw.
    """
    count = like.numel()
    # float16 and bfloat16 have no room for 65,536 levels.
    kind = torch.promote_types(like.dtype, torch.float32)
    if count <= _FEW:
        return (
            torch.rand(like.shape, generator=generator, dtype=kind, device=like.device)
            .logit_(_EDGE)
            .to(like.dtype)
        )
    bits = torch.empty(-(-count // 4), dtype=torch.int64, device=like.device)
    bits.random_(-(1 << 63), None, generator=generator)
    noise = bits.view(torch.int16)[:count].reshape(like.shape).to(kind)
    return noise.add_(_LEVELS / 2 + 0.5).mul_(1.0 / _LEVELS).logit_().to(like.dtype)


def sample(log_alpha: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw a gate in [0, 1]: ``clamp(sigmoid((logit(u) + log_alpha) / beta) (zeta - gamma) + gamma, 0, 1)``.

    ``u`` is uniform noise (equations 10 and 11 of the paper). Differentiable once.

    Args:
        log_alpha: of any shape.
        generator: of the noise, on the device of ``log_alpha``; default: PyTorch's global one.
    """
    if log_alpha.numel() > _FEW:
        return _HardConcreteSample.apply(log_alpha, generator)
    # sigmoid(x) (zeta - gamma) + gamma, clamped, is hardsigmoid(3 (zeta - gamma) tanh(x / 2)) as gamma + zeta = 1.
    steep = _logistic_noise(log_alpha, generator).add(log_alpha).mul(0.5 / BETA).tanh()
    return nn.functional.hardsigmoid(steep.mul(3.0 * (ZETA - GAMMA)))


def open_probability(log_alpha: Tensor) -> Tensor:
    """P(z != 0) = ``sigmoid(log_alpha - beta log(-gamma / zeta))`` (equation 12 of the paper); differentiable."""
    return torch.sigmoid(log_alpha - CLOSED_AT)


def log_alpha_of(probability: Tensor) -> Tensor:
    """Invert :func:`open_probability`; the result is clamped to ``+-LOG_ALPHA_BOUND``."""
    return (torch.logit(probability) + CLOSED_AT).clamp(-LOG_ALPHA_BOUND, LOG_ALPHA_BOUND)


def quantile(log_alpha: Tensor, level: Tensor | float) -> Tensor:
    """Return the ``level`` quantile of the gate; ``level`` is in (0, 1) and broadcasts against ``log_alpha``.

    The gate increases with its noise, so this is the sample of equation 10 with ``u = level``.
    """
    noise = torch.logit(torch.as_tensor(level, dtype=log_alpha.dtype, device=log_alpha.device))
    return _stretch(torch.sigmoid((noise + log_alpha) / BETA))


def median(log_alpha: Tensor) -> Tensor:
    """Return the median gate, used at test time: exactly 0 where P(open) <= 1/2, exactly 1 from ``OPEN_AT`` up.

    The paper's noise-free estimator (equation 13) omits ``beta`` and keeps gates down to P(open) = 0.31; the median
    agrees with the probability for every beta (Gallego-Posada et al., NeurIPS 2022).
    """
    return _stretch(torch.sigmoid(log_alpha / BETA))


def open_median(log_alpha: Tensor) -> Tensor:
    """Return the median of the gate *given that it is open*, which is positive for every finite ``log_alpha``.

    This is ``quantile(log_alpha, 1 - P(open) / 2)``: the value of a gate that is kept open although its median is 0.
    """
    return quantile(log_alpha.double(), 1.0 - open_probability(log_alpha.double()) / 2).to(log_alpha.dtype)
