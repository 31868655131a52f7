"""ModernBERT-base with random weights: two layers of three see 64 tokens to each side, the third sees all."""

import torch
from torch import Tensor, nn
from transformers import ModernBertConfig, ModernBertModel

DYNAMIC = {"ids": {1: "length"}, "mask": {1: "length"}}


class Encoder(nn.Module):
    """Token ids and mask [batch, length] -> [batch, length, 768]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.bert = ModernBertModel(ModernBertConfig(attn_implementation="sdpa"))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        state: Tensor = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
        return state


def make(tokens: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Build the model, and one text of ``tokens`` tokens without padding."""
    ids = torch.randint(100, 50000, (1, tokens), generator=torch.Generator().manual_seed(1))
    return Encoder().eval(), (ids, torch.ones(1, tokens, dtype=torch.int64))
