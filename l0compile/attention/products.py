"""Products of two computed tensors, which compiled code leaves to PyTorch as long as it has no kernel for them."""

import torch
from torch import Tensor


def score_products(q: Tensor, k: Tensor) -> Tensor:
    """Return Q Kᵀ [B, h, Sq, Sk] of q [B, h, Sq, D] and k [B, h, Sk, D].

    The lowering of ``matmul`` is for small products; ``einsum`` has none, so that PyTorch computes it.
    """
    return torch.einsum("bhqd,bhkd->bhqk", q, k)


def weighted_values(weights: Tensor, v: Tensor) -> Tensor:
    """Return [B, h, Sq, D], the weights [B, h, Sq, Sk] times the values [B, h, Sk, D]; see :func:`score_products`."""
    return torch.einsum("bhqk,bhkd->bhqd", weights, v)
