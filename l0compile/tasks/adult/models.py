"""Models of a table with numbers and categories: FT-Transformer, and a perceptron on learned embeddings.

Both read (numbers float32 [B, numbers], categories int64 [B, categories]) and return logits [B, classes]. Both have a
module ``columns``, which passes one vector for each column, [B, width, columns], and a module ``representation``, which
returns the vector that the last layer classifies: gates of features fit on either.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class ColumnVectors(nn.Module):
    """A vector for each column: x w + b for a number, a row of a table for a category. Returns [B, width, columns]."""

    offsets: Tensor

    def __init__(self, numbers: int, sizes: Sequence[int], width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(sum(sizes), width)
        self.register_buffer("offsets", torch.tensor([0, *sizes[:-1]]).cumsum(0))
        scale = width**-0.5
        self.weight = nn.Parameter(torch.empty(width, numbers).uniform_(-scale, scale))
        self.bias = nn.Parameter(torch.empty(width, numbers + len(sizes)).uniform_(-scale, scale))
        nn.init.uniform_(self.table.weight, -scale, scale)
        self.columns = nn.Identity()

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return the vectors of the columns, numbers first."""
        of_numbers = numbers.unsqueeze(1) * self.weight
        of_categories = self.table(categories + self.offsets).transpose(1, 2)
        vectors: Tensor = self.columns(torch.cat([of_numbers, of_categories], 2) + self.bias)
        return vectors


class FTLayer(nn.Module):
    """A transformer layer with norms first and a ReGLU network; ``first`` has no norm before attention."""

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: tuple[float, float], first: bool
    ) -> None:
        super().__init__()
        self.heads, self.dropout, self.first = heads, dropout, first
        self.attention_norm = nn.Identity() if first else nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.network_norm = nn.LayerNorm(width)
        self.gate, self.up, self.down = (
            nn.Linear(width, hidden),
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
        )

    def forward(self, x: Tensor, read: Tensor) -> Tensor:
        """Return the new vectors of ``x`` [B, n, width], which attend to ``read`` [B, m, width]."""
        keys = self.attention_norm(read)
        query = self._split(self.query(self.attention_norm(x)))
        mixed = functional.scaled_dot_product_attention(
            query, self._split(self.key(keys)), self._split(self.value(keys)),
            dropout_p=self.dropout[0] if self.training else 0.0,
        )  # fmt: skip
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        hidden = self.network_norm(x)
        hidden = functional.dropout(
            functional.relu(self.gate(hidden)) * self.up(hidden), self.dropout[1], self.training
        )
        result: Tensor = x + self.down(hidden)
        return result

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class FTTransformer(nn.Module):
    """Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (NeurIPS 2021, arXiv 2106.11959).

    The last layer computes the class token alone, since nothing reads the others.
    """

    def __init__(
        self,
        numbers: int,
        sizes: Sequence[int],
        classes: int,
        *,
        width: int = 96,
        layers: int = 3,
        heads: int = 8,
        dropout: tuple[float, float] = (0.2, 0.1),
    ) -> None:
        super().__init__()
        self.embed = ColumnVectors(numbers, sizes, width)
        self.class_token = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        hidden = width * 4 // 3
        self.layers = nn.ModuleList(
            FTLayer(width, heads, hidden, dropout, first=place == 0) for place in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.representation = nn.ReLU()
        self.classify = nn.Linear(width, classes)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        tokens = self.embed(numbers, categories).transpose(1, 2)
        first = self.class_token.expand(len(tokens), 1, -1)
        x = torch.cat([first, tokens], 1)
        for layer in self.layers[:-1]:
            x = layer(x, x)
        x = self.layers[-1](x[:, :1], x)
        logits: Tensor = self.classify(self.representation(self.norm(x[:, 0])))
        return logits


class EmbeddingMLP(nn.Module):
    """A perceptron on the vectors of the columns, each through ReLU (Gorishniy et al., arXiv 2203.05556)."""

    def __init__(
        self,
        numbers: int,
        sizes: Sequence[int],
        classes: int,
        *,
        embedding: int = 16,
        width: int = 256,
        layers: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.embed = ColumnVectors(numbers, sizes, embedding)
        steps: list[nn.Module] = []
        last = embedding * (numbers + len(sizes))
        for _ in range(layers):
            steps += [nn.Linear(last, width), nn.ReLU(), nn.Dropout(dropout)]
            last = width
        self.network = nn.Sequential(*steps)
        self.representation = nn.Identity()
        self.classify = nn.Linear(width, classes)

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        """Return logits [B, classes]."""
        vectors = functional.relu(self.embed(numbers, categories)).flatten(1)
        logits: Tensor = self.classify(self.representation(self.network(vectors)))
        return logits
