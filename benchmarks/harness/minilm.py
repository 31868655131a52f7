"""all-MiniLM-L6-v2, dense or with its smallest weight blocks set to zero."""

import torch
from torch import Tensor, nn

from harness.pruning import prune
from l0compile.tasks.embedding import load_encoder

DYNAMIC = {"input_ids": {0: "batch", 1: "seq"}, "attention_mask": {0: "batch", 1: "seq"}}


def inputs(batch: int, tokens: int, *, padded: bool = False) -> tuple[Tensor, Tensor]:
    """Make random token ids and their mask; if ``padded``, every second sentence has half the length."""
    generator = torch.Generator().manual_seed(batch * 1000 + tokens)
    ids = torch.randint(1000, 20000, (batch, tokens), generator=generator)
    mask = torch.ones_like(ids)
    if padded:
        mask[1::2, (tokens + 1) // 2 :] = 0
    return ids, mask


def encoder(block: tuple[int, int] | None = None, density: float = 1.0) -> nn.Module:
    """Make the sentence encoder.

    With ``block``, each linear layer of the encoder keeps only the share ``density`` of its largest blocks; this serves
    measurements of speed and exactness, not of quality.
    """
    model = load_encoder().eval()
    if block is not None:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and "encoder" in name:
                prune(module.weight.data, block, density)
    return model
