"""A Llama of 160 million weights, random: all tokens at once, and one token after a cache."""

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicCache

LAYERS, HEADS, GROUPS, WIDTH, VOCABULARY = 12, 12, 4, 768, 32000


class Prefill(nn.Module):
    """ids [batch, seq] -> logits of the last token [batch, 1, 32000]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": LAYERS}
        heads = {"num_attention_heads": HEADS, "num_key_value_heads": GROUPS}
        self.model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes, **heads))

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits
        return logits


class Decode(Prefill):
    """ids [batch, 1]; keys, values [batch, 4, seq, 64] of each layer -> logits [batch, 1, 32000], new keys, values."""

    def forward(self, ids: Tensor, *past: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        cache = DynamicCache()
        for layer in range(LAYERS):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True).logits
        made = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return logits, *(tensor[:, :, -1:] for tensor in made)


def ids(tokens: int) -> Tensor:
    """Make token ids [1, tokens], always the same."""
    return torch.randint(0, VOCABULARY, (1, tokens), generator=torch.Generator().manual_seed(tokens))


def cache(tokens: int) -> list[Tensor]:
    """Make keys and values of ``tokens`` earlier tokens, layer by layer."""
    generator = torch.Generator().manual_seed(1)
    shape = (1, GROUPS, tokens, WIDTH // HEADS)
    return [torch.randn(shape, generator=generator) for _ in range(2 * LAYERS)]
