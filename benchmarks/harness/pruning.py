"""Zeros in blocks, by magnitude, for measurements of speed and exactness, not of quality."""

import torch
from torch import Tensor, nn


def prune(weight: Tensor, block: tuple[int, int], density: float) -> None:
    """Keep the share ``density`` of the blocks of largest L1 norm and zero the others in place.

    A weight [n, C, ...] is a linear layer [n, C] for each position of its window. It stays as it is if the block size
    does not divide n and C.
    """
    matrix = weight.movedim(1, -1)
    (rows, columns), n, channels = block, matrix.shape[0], matrix.shape[-1]
    if n % rows or channels % columns:
        return
    blocks = matrix.abs().reshape(n // rows, rows, -1, columns).sum((1, 3))
    kept = torch.zeros(blocks.numel(), dtype=torch.bool)
    kept[blocks.flatten().topk(round(density * blocks.numel())).indices] = True
    mask = kept.reshape(blocks.shape).repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    weight *= mask.reshape(matrix.shape).movedim(-1, 1)


def prune_model(model: nn.Module, block: tuple[int, int], density: float) -> nn.Module:
    """Prune the linear layers and ungrouped convolutions of ``model`` in place, and return it."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1):
                prune(module.weight, block, density)
    return model
