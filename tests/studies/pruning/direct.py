"""Regression written out: what the search's weights and losses are compared with."""

import torch
from torch import Tensor

from l0compile.studies.pruning.curvature import Curvature


def random_layer(out: int, width: int, seed: int, tokens: int = 64) -> tuple[Tensor, Curvature]:
    """A weight [out, width], and the statistics of correlated inputs to it."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(out, width, generator=generator)
    x = torch.randn(tokens, width, generator=generator) @ torch.randn(width, width, generator=generator)
    return weight, Curvature(x.T @ x / tokens, torch.rand(out, generator=generator) + 0.1)


def blocks_to_weights(live: Tensor, block: tuple[int, int], shape: torch.Size) -> Tensor:
    """Bool [out, in]: the weights in live blocks."""
    wide = live.repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return wide[: shape[0], : shape[1]]


def regression(weight: Tensor, gram: Tensor, mask: Tensor) -> Tensor:
    """``argmin_V sum_i (w_i - v_i)^T gram (w_i - v_i)`` with V = 0 outside of ``mask``: float64 [out, in]."""
    gram, solved = gram.double(), torch.zeros(weight.shape, dtype=torch.float64)
    for row, live in enumerate(mask):
        if live.any():
            wanted = (gram @ weight[row].double())[live]
            solved[row, live] = torch.linalg.solve(gram[live][:, live], wanted)
    return solved


def least_loss(weight: Tensor, curvature: Curvature, mask: Tensor) -> float:
    """``sum_i g_i (w_i - v_i)^T A (w_i - v_i)`` of the best V that is 0 outside of ``mask``."""
    off = weight.double() - regression(weight, curvature.damped, mask)
    rows = (off @ curvature.damped.double() * off).sum(1)
    return float(rows @ curvature.sensitivity.double())
