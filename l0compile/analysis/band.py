"""A band: the keys whose distance from a query lies between two limits."""

from dataclasses import dataclass

import torch
from torch import Tensor

_LARGEST_MASK = 1 << 28


@dataclass(frozen=True)
class Band:
    """A query sees the keys whose position minus its own is at least ``low`` and at most ``high``; None: any."""

    low: int | None = None
    high: int | None = None

    def __and__(self, other: "Band") -> "Band":
        lows = [band.low for band in (self, other) if band.low is not None]
        highs = [band.high for band in (self, other) if band.high is not None]
        return Band(max(lows, default=None), min(highs, default=None))

    @property
    def complement(self) -> "Band | None":
        """The keys that are not seen; None where these are no band."""
        if (self.low is None) == (self.high is None):
            return None
        return Band(None, self.low - 1) if self.low is not None else Band(self.high + 1, None)  # type: ignore[operator]


def band_of_mask(mask: Tensor) -> Band | None:
    """The band that bool [..., queries, keys] holds, the same at every leading index; None where it is none."""
    if mask.ndim < 2 or not 0 < mask.numel() <= _LARGEST_MASK:
        return None
    masks = mask.reshape(-1, *mask.shape[-2:])
    live, (queries, keys) = masks[0], mask.shape[-2:]
    some = live.any(1)
    if not bool(some.any()) or not all(torch.equal(other, live) for other in masks[1:]):
        return None
    positions = torch.arange(queries)
    first, behind = (t.to(torch.uint8).argmax(1) for t in (live, live.flip(1)))
    low = int((first - positions)[some].min())
    high = int((keys - 1 - behind - positions)[some].max())
    if not torch.equal(live, torch.ones_like(live).triu(low).tril(high)):
        return None
    return Band(None if low <= 1 - queries else low, None if high >= keys - 1 else high)
