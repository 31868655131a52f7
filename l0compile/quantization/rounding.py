"""How weights become 8-bit integers: a scale for each row, and rounding to the nearest or with compensation."""

import torch
from torch import Tensor

from l0compile.quantization.layers import MOST

_BLOCK = 128
# As a share of the mean square of an input. GPTQ takes 0.01 with 100 times as much calibration data; MiniLM with 3,300
# tokens is better off with this.
_DAMPING = 0.1


def to_grid(weight: Tensor, scale: Tensor) -> Tensor:
    """Return the integers of a weight [n, k] under row scales [n], as float32 [n, k]; 0 stays 0."""
    return (weight / scale[:, None]).round().clamp(-MOST, MOST)


def row_scales(weight: Tensor) -> Tensor:
    """Return the scale of each row [n] of a weight [n, k]: its peak becomes 127; 1 for a row of zeros.

    Cutting peaks off was tried: at 8 bits the best cut by squared error changes nothing that can be measured.
    """
    peak = weight.abs().amax(1) / MOST
    # Rows so small that their scale would be a denormal number round to zeros.
    return torch.where(peak > 0, peak.clamp(min=torch.finfo(torch.float32).tiny), 1.0)


def compensated(weight: Tensor, scale: Tensor, gram: Tensor, kept: Tensor) -> Tensor:
    """Return the weight whose nearest integers make up for each other's errors (GPTQ, arXiv 2210.17323).

    Columns are rounded one after another, and those still to come take over the error of each.

    This lowers ``E|(Q - W) x|^2``. With H the damped Gram matrix of x and U the upper Cholesky factor of its inverse,
    the error e of column j, as a share of ``U_jj``, is taken from the later columns as ``e U_j``.

    Args:
        weight: W [n, k] float32.
        scale: [n] float32.
        gram: E[x xᵀ], [k, k] float32.
        kept: [n, k] bool; where it is False, the result is 0.

    Returns:
        V [n, k] float32: ``to_grid(V, scale)`` are the integers of Q. W itself if H cannot be factored.
    """
    upper = _upper_factor(gram)
    if upper is None:
        return weight
    width = weight.shape[1]
    left = weight.clone()
    for start in range(0, width, _BLOCK):
        stop = min(start + _BLOCK, width)
        part, errors = left[:, start:stop], torch.zeros(len(weight), stop - start)
        factor = upper[start:stop, start:stop]
        for j in range(stop - start):
            wanted, open_rows = part[:, j], kept[:, start + j]
            rounded = to_grid((wanted * open_rows)[:, None], scale)[:, 0] * scale
            errors[:, j] = (wanted - rounded) / factor[j, j]
            part[:, j + 1 :] -= errors[:, j, None] * factor[j, j + 1 :]
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    return left * kept


def _upper_factor(gram: Tensor) -> Tensor | None:
    damping = _DAMPING * float(gram.diagonal().mean())
    if damping <= 0:
        return None
    damped = gram.double() + damping * torch.eye(len(gram), dtype=torch.float64)
    lower, info = torch.linalg.cholesky_ex(damped)
    if int(info):
        return None
    upper, info = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    return None if int(info) else upper.float()
