"""Which rows and columns of a weight hold anything but zeros: read once, however many analyses ask."""

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_KNOWN = WeakIdKeyDictionary()  # weight -> (its version, rows, columns)


def used(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return bool [n] and [k]: the rows and the columns of a weight [n, k] with a nonzero element."""
    version = 0 if weight.is_inference() else weight._version
    found = _KNOWN.get(weight)
    if found is None or found[0] != version:
        # As numbers: PyTorch reduces bool forty times more slowly.
        mask = (weight != 0).view(torch.uint8)
        found = version, _largest(mask, 1), _largest(mask, 0)
        _KNOWN[weight] = found
    return found[1], found[2]


def _largest(mask: Tensor, axis: int) -> Tensor:
    if not mask.shape[axis]:
        return mask.new_zeros(mask.shape[1 - axis], dtype=torch.bool)
    return mask.amax(axis).view(torch.bool)
