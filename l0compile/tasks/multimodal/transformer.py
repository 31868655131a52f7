"""One transformer over the tokens of several modalities, with a place for gates of each modality before every layer."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class IdTokens(nn.Module):
    """Tokens of a sequence of ids, such as words or table columns; id 0 is padding if ``padded``.

    int64 [B, n] -> float32 [B, n, width], n at most ``length``.
    """

    def __init__(self, vocabulary: int, length: int, width: int, padded: bool) -> None:
        super().__init__()
        self.padded = padded
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.empty(length, width))
        _initialise(self.embedding.weight, self.position)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the tokens."""
        found: Tensor = self.embedding(ids) + self.position[: ids.shape[1]]
        return found


class PatchTokens(nn.Module):
    """Tokens of the square patches of a grey image, row by row: float32 [B, side, side] -> [B, patches, width]."""

    padded = False

    def __init__(self, side: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch, self.edge = patch, side // patch
        self.linear = nn.Linear(patch * patch, width)
        self.position = nn.Parameter(torch.empty(self.edge * self.edge, width))
        _initialise(self.position)

    def forward(self, image: Tensor) -> Tensor:
        """Return the tokens."""
        cut = image.reshape(-1, self.edge, self.patch, self.edge, self.patch).transpose(2, 3)
        found: Tensor = self.linear(cut.reshape(-1, self.edge**2, self.patch**2)) + self.position
        return found


class SharedLayer(nn.Module):
    """A transformer layer that normalises what it reads (Xiong et al. 2020): attention, then a feed-forward block."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.forward_norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.activation, self.dropout = nn.GELU(), nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, rows: int | None = None) -> Tensor:
        """Return the tokens after this layer.

        Args:
            x: float32 [B, S, width].
            mask: bool [B, 1, 1, S], False where a token is padding; None if none is.
            rows: how many of the first tokens are wanted; None for all.
        """
        normed = self.attention_norm(x)
        if rows is not None:
            x, asked = x[:, :rows], normed[:, :rows]
        else:
            asked = normed
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, asked), (self.key, normed), (self.value, normed))
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        found: Tensor = x + self.dropout(self.down(self.activation(self.up(self.forward_norm(x)))))
        return found


class SharedTransformer(nn.Module):
    """Classify the first token of [CLS], tokens of the first modality, tokens of the second, and so on.

    ``between.<layer>.<modality>`` returns what goes from the tokens of one modality into one layer, and changes
    nothing by itself: a ``Feature(width)`` gate on it closes features of that modality there, and of no other.
    ``representation`` returns the vector that ``classifier`` classifies, [B, width]. Of the last layer only the first
    token is computed. Call it with one tensor per modality, in order; it returns logits, float32 [B, classes].

    Args:
        tokens: modality -> module that makes its tokens [B, n, width]; ``padded`` says that its id 0 is padding.
        classes: how many.
        width: of a token; heads divide it.
        layers, heads: how many.
        dropout: of tokens, attention and feed-forward outputs.
    """

    def __init__(
        self,
        tokens: Mapping[str, nn.Module],
        classes: int,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.modalities, self.width = tuple(tokens), width
        self.tokens = nn.ModuleDict(dict(tokens))
        self.cls = nn.Parameter(torch.empty(1, 1, width))
        self.dropout = nn.Dropout(dropout)
        self.between = nn.ModuleList(
            nn.ModuleDict({name: nn.Identity() for name in tokens}) for _ in range(layers)
        )
        self.layers = nn.ModuleList(SharedLayer(width, heads, dropout) for _ in range(layers))
        self.representation = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        _initialise(self.cls)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the logits."""
        parts = [module(given) for module, given in zip(self.tokens.values(), inputs, strict=True)]
        sizes = [1, *(part.shape[1] for part in parts)]
        mask = self._mask(inputs, parts)
        x = self.dropout(torch.cat([self.cls.expand(parts[0].shape[0], -1, -1), *parts], 1))
        for place, (between, layer) in enumerate(zip(self.between, self.layers, strict=True)):
            first, *parts = x.split(sizes, 1)
            passed = [module(part) for module, part in zip(between.values(), parts, strict=True)]  # type: ignore[operator]
            last = place == len(self.layers) - 1
            x = layer(torch.cat([first, *passed], 1), mask, 1 if last else None)
        logits: Tensor = self.classifier(self.representation(x[:, 0]))
        return logits

    def _mask(self, inputs: tuple[Tensor, ...], parts: list[Tensor]) -> Tensor | None:
        """Return which tokens are real, bool [B, 1, 1, S]; None if all are."""
        padded = [bool(module.padded) for module in self.tokens.values()]
        if not any(padded):
            return None
        real = [parts[0].new_ones((parts[0].shape[0], 1), dtype=torch.bool)]
        for has_padding, ids, part in zip(padded, inputs, parts, strict=True):
            real.append(ids != 0 if has_padding else torch.ones_like(part[..., 0], dtype=torch.bool))
        return torch.cat(real, 1)[:, None, None]


def _initialise(*parameters: Tensor) -> None:
    for parameter in parameters:
        nn.init.normal_(parameter, std=0.1)
