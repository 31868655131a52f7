"""Models that change buffers of their own, in the ways that people write."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Statistics(nn.Module):
    """A counter, changed in place, and a running mean, put in the old one's stead."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(4), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        self.mean = self.mean * 0.9 + x.mean(0) * 0.1
        return self.linear(x - self.mean) / self.calls, self.mean


class Cache(nn.Module):
    """Rows written by index_copy_."""

    def __init__(self, places: int = 8) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("kept", torch.zeros(1, 2, places, 4))

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        self.kept.index_copy_(2, at, self.linear(x))
        return self.linear(self.kept).sum(-1)


class Assigned(Cache):
    """Rows written by assignment, with a tensor and with a slice as index."""

    def forward(self, x: Tensor, at: Tensor) -> Tensor:
        self.kept[:, :, at] = self.linear(x)
        self.kept[:, 1, 0:1] = x[:, 0] * 2
        return self.kept * 1


class Slices(nn.Module):
    """Parts of large buffers written by assignment: a slice, one entry of an axis, a number everywhere in a part."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("sliced", torch.zeros(2, 8192, 4))
        self.register_buffer("entry", torch.zeros(4, 8192, 4))
        self.register_buffer("number", torch.zeros(2, 8192, 4, dtype=torch.int64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.sliced[:, 3:5] = self.linear(x)
        self.entry[2] = x[0, :1]
        self.number[:, 7:, 1:3] = (x[0, 0, 0] * 100).long()
        return self.linear(self.sliced).sum(1), self.entry[1:].sum(1), self.number[:, :, 1:].sum(1)


class Returned(nn.Module):
    """The old value, the new one, a part of it and the input are results."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("last", torch.zeros(4))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        old = self.last.clone()
        self.last.copy_(self.linear(x))
        return old, self.last, self.last[:2], x


class Window(nn.Module):
    """A convolution over a stream: the last inputs are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 2, 4)
        self.register_buffer("past", torch.zeros(1, 3, 6))

    def forward(self, x: Tensor) -> Tensor:
        self.past.copy_(torch.cat([self.past[..., x.shape[-1] :], x], -1))
        return self.conv(self.past)


class Counting(Cache):
    """The model counts places itself; the second cache has fewer, so its write can fail after the first."""

    def __init__(self, places: int = 4, fewer: int = 3) -> None:
        super().__init__(places)
        self.register_buffer("short", torch.zeros(1, 2, fewer, 4))
        self.register_buffer("at", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        self.kept.index_copy_(2, self.at, self.linear(x))
        self.short.index_copy_(2, self.at, self.kept[:, :, :1] + x)
        self.at += 1
        return self.kept.sum(2) + self.short.sum(2)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, shared: int, places: int) -> None:
        super().__init__()
        self.heads, self.shared, each = heads, shared, width // heads
        self.q, self.out = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, shared * each, bias=False) for _ in range(2))
        self.register_buffer("keys", torch.zeros(1, shared, places, each))
        self.register_buffer("values", torch.zeros(1, shared, places, each))

    def forward(self, x: Tensor, at: Tensor, mask: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        pairs = (self.q, self.heads), (self.k, self.shared), (self.v, self.shared)
        q, k, v = (layer(x).unflatten(-1, (heads, -1)).transpose(1, 2) for layer, heads in pairs)
        q, k = (
            t * cos + torch.cat([-t[..., t.shape[-1] // 2 :], t[..., : t.shape[-1] // 2]], -1) * sin
            for t in (q, k)
        )
        self.keys.index_copy_(2, at, k)
        self.values.index_copy_(2, at, v)
        y = F.scaled_dot_product_attention(q, self.keys, self.values, attn_mask=mask, enable_gqa=True)
        return self.out(y.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, shared: int, places: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, shared, places)
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, *place: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x), *place)
        y = self.norms[1](x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Decoder(nn.Module):
    """A small Llama: ids [1, tokens] -> scores of the next token [1, vocab]; it knows how many tokens it has seen."""

    def __init__(
        self, vocab: int = 40, width: int = 16, places: int = 16, hidden: int = 32, layers: int = 1
    ) -> None:
        super().__init__()
        self.table, self.places, heads = nn.Embedding(vocab, width), places, 4
        self.layers = nn.ModuleList(Layer(width, heads, 2, places, hidden) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocab, bias=False)
        rates = 10000 ** (-torch.arange(0, width // heads, 2) / (width // heads))
        angles = torch.outer(torch.arange(places).float(), rates).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, ids: Tensor) -> Tensor:
        at = torch.arange(ids.shape[1]) + self.seen
        self.seen += ids.shape[1]
        x, mask = self.table(ids), torch.arange(self.places) <= at[:, None]
        for layer in self.layers:
            x = layer(x, at, mask, self.cos[at], self.sin[at])
        return self.head(self.norm(x[:, -1]))
