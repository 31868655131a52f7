"""One call of attention: its arguments, and what it gives under a further mask."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Call(NamedTuple):
    """The arguments of ``scaled_dot_product_attention``; see there."""

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None = None
    dropout_p: float = 0.0
    is_causal: bool = False
    scale: float | None = None
    enable_gqa: bool = False

    def dense(self) -> Tensor:
        """What PyTorch gives."""
        return F.scaled_dot_product_attention(*self[:6], scale=self.scale, enable_gqa=self.enable_gqa)

    def masked(self, seen: Tensor) -> Tensor:
        """What PyTorch gives when only the keys in ``seen``, bool [b, h, Sq, Sk], are seen, and no others."""
        mask = seen
        if self.is_causal:
            mask = mask & torch.ones(seen.shape[-2:], dtype=torch.bool).tril()
        if self.attn_mask is not None and self.attn_mask.dtype == torch.bool:
            mask = mask & self.attn_mask
        elif self.attn_mask is not None:
            mask = torch.where(mask, self.attn_mask, float("-inf"))
        return self._replace(attn_mask=mask, is_causal=False).dense()
