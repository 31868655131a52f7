"""Where the largest scores stand, the first of equal ones first: compiled code and PyTorch choose the same."""

import torch
from torch import Tensor


def best_places(scores: Tensor, count: int, ordered: bool = True) -> Tensor:
    """Return the places [..., count] of the largest scores [..., n] of each row, int64.

    PyTorch's ``topk`` takes any of equal scores. Counts, and scores of what is masked, are often equal.

    Args:
        scores: float32 or int32.
        count: from 1 to n.
        ordered: the best first; else in the order of their places.
    """
    flat = scores.detach().flatten(0, -2) if scores.ndim > 1 else scores.detach().unsqueeze(0)
    found: Tensor = torch.ops.l0compile.top_places(flat, count, True, ordered)
    return found.reshape(*scores.shape[:-1], count)
