"""Small models, one for each way in which channels are coupled, for the property test of compaction."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Build = tuple[Callable[[], nn.Module], tuple[int, ...], dict[int, str]]


class Graph(nn.Module):
    """Layers by name and a function of (layers, x)."""

    def __init__(self, run: Callable[["Graph", Tensor], object], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> object:
        return self.run(self, x)


def residual(g: Graph, x: Tensor) -> Tensor:
    """A stream that several branches add to, with a norm over it (rules 4 and 7)."""
    h = g.a(x)
    h = h + g.c(F.gelu(g.b(g.norm(h))))
    return g.head(g.last(h))


def rms(g: Graph, x: Tensor) -> Tensor:
    h = g.a(x)
    scaled = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5)
    return g.head(h + g.c(F.silu(g.b(scaled))))


def pair(g: Graph, x: Tensor) -> Tensor:
    """SwiGLU from one fused projection."""
    left, right = g.a(x).chunk(2, -1)
    return g.head(F.silu(left) * right)


def packed_heads(g: Graph, x: Tensor) -> Tensor:
    """One projection for q, k and v, split through a view."""
    q, k, v = g.a(x).unflatten(-1, (3, 4, 3)).permute(2, 0, 3, 1, 4).unbind(0)
    h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return g.head(h.transpose(1, 2).flatten(2))


def grouped_query(g: Graph, x: Tensor) -> Tensor:
    q = g.a(x).unflatten(-1, (4, 3)).transpose(1, 2)
    k, v = (layer(x).unflatten(-1, (2, 3)).transpose(1, 2) for layer in (g.b, g.c))
    k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).reshape(q.shape) for t in (k, v))
    return g.head(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def grouped_query_flag(g: Graph, x: Tensor) -> Tensor:
    q = g.a(x).unflatten(-1, (4, 3)).transpose(1, 2)
    k, v = (layer(x).unflatten(-1, (2, 3)).transpose(1, 2) for layer in (g.b, g.c))
    return g.head(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).flatten(2))


def by_hand(g: Graph, x: Tensor) -> Tensor:
    """Attention written out, with a rotation of half of each head."""
    q, k, v = (layer(x).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (g.a, g.b, g.c))
    q = torch.cat((-q[..., 2:], q[..., :2]), -1) * 0.5 + q
    return g.head((torch.softmax(q @ k.transpose(-1, -2), -1) @ v).transpose(1, 2).reshape(x.shape[0], -1, 8))


def joined(g: Graph, x: Tensor) -> Tensor:
    """Concatenation, slices, selection, stacking."""
    h = torch.cat((g.a(x), g.b(x)), -1)
    first, rest = h[..., :5], h[..., 5:]
    return g.head(rest) + torch.stack((g.c(first), g.c(first) * 2), 1)[:, 1] + h[..., 3:4]


def convnet(g: Graph, x: Tensor) -> Tensor:
    """Depthwise, grouped, residual and squeeze-excite convolutions, batch norm, pooling."""
    h = F.relu(g.norm(g.a(x)))
    y = g.depth(h)
    y = y * torch.sigmoid(g.c(F.relu(g.b(y.mean((2, 3), keepdim=True)))))
    h = F.max_pool2d(h + y, 2)
    return g.head(g.group(h).mean((2, 3)))


def skips(g: Graph, x: Tensor) -> Tensor:
    """A U with a transposed convolution and a skip."""
    down = F.relu(g.a(x))
    up = g.up(F.relu(g.b(F.avg_pool2d(down, 2))))
    return g.c(torch.cat((up, down), 1))


def line(g: Graph, x: Tensor) -> Tensor:
    h = g.norm(F.relu(g.a(x)))
    return g.c(F.gelu(g.b(h)))


def unpadded(g: Graph, x: Tensor) -> Tensor:
    """Constants reach a convolution without padding: they go into its bias."""
    return g.head(F.relu(g.b(torch.sigmoid(g.a(x)))).mean((2, 3)))


def padded(g: Graph, x: Tensor) -> Tensor:
    """Constants reach two padded convolutions and a transposed one: planes stand for them."""
    h = torch.sigmoid(g.a(x))
    return g.b(h) + g.c(F.relu(h - 0.25)) + g.up(F.avg_pool2d(h, 2))


def messages(g: Graph, x: Tensor) -> Tensor:
    """Rows gathered and added up along edges of a graph."""
    source, target = torch.tensor([0, 1, 2, 2]), torch.tensor([1, 0, 1, 2])
    h = F.relu(g.a(x)).index_select(1, source)
    zeros = torch.zeros(x.shape[0], x.shape[1], 8)
    added = zeros.index_add(1, target, h) + zeros.scatter_add(1, target[None, :, None].expand(h.shape), h)
    return g.head(added)


TOKENS = {0: "batch", 1: "length"}
IMAGES = {0: "batch"}
L, C2 = nn.Linear, nn.Conv2d

MODELS: dict[str, Build] = {
    "residual": (lambda: Graph(residual, a=L(5, 8), norm=nn.LayerNorm(8), b=L(8, 6), c=L(6, 8), last=nn.LayerNorm(8),
                               head=L(8, 3)), (2, 3, 5), TOKENS),
    "rms": (lambda: Graph(rms, a=L(5, 8), b=L(8, 6), c=L(6, 8), head=L(8, 3)), (2, 3, 5), TOKENS),
    "pair": (lambda: Graph(pair, a=L(5, 14), head=L(7, 3)), (2, 3, 5), TOKENS),
    "packed_heads": (lambda: Graph(packed_heads, a=L(5, 36), head=L(12, 3)), (2, 3, 5), TOKENS),
    "grouped_query": (lambda: Graph(grouped_query, a=L(5, 12), b=L(5, 6), c=L(5, 6), head=L(12, 3)), (2, 3, 5), TOKENS),
    "grouped_query_flag": (lambda: Graph(grouped_query_flag, a=L(5, 12), b=L(5, 6), c=L(5, 6), head=L(12, 3)),
                           (2, 3, 5), TOKENS),
    "by_hand": (lambda: Graph(by_hand, a=L(5, 8), b=L(5, 8), c=L(5, 8), head=L(8, 3)), (2, 3, 5), TOKENS),
    "joined": (lambda: Graph(joined, a=L(5, 4), b=L(5, 6), c=L(5, 3), head=L(5, 3)), (2, 3, 5), TOKENS),
    "convnet": (lambda: Graph(convnet, a=C2(3, 8, 3, padding=1), norm=nn.BatchNorm2d(8),
                              depth=C2(8, 8, 3, padding=1, groups=8), b=C2(8, 4, 1), c=C2(4, 8, 1),
                              group=C2(8, 6, 3, groups=2), head=L(6, 3)), (2, 3, 8, 8), IMAGES),
    "skips": (lambda: Graph(skips, a=C2(3, 6, 3, padding=1), b=C2(6, 8, 3, padding=1),
                            up=nn.ConvTranspose2d(8, 4, 2, stride=2), c=C2(10, 2, 3, padding=1)), (2, 3, 8, 8), IMAGES),
    "line": (lambda: Graph(line, a=nn.Conv1d(3, 8, 3, padding=1), norm=nn.GroupNorm(4, 8),
                           b=nn.Conv1d(8, 6, 3, stride=2),
                           c=nn.Conv1d(6, 2, 1)), (2, 3, 9), IMAGES),
    "messages": (lambda: Graph(messages, a=L(5, 8), head=L(8, 3)), (2, 3, 5), IMAGES),
    "padded": (lambda: Graph(padded, a=C2(3, 8, 1), b=C2(8, 4, 3, padding=1), c=C2(8, 4, 3, padding=1),
                             up=nn.ConvTranspose2d(8, 4, 2, stride=2)), (2, 3, 6, 6), IMAGES),
    "unpadded": (lambda: Graph(unpadded, a=C2(3, 8, 1), b=C2(8, 6, 3), head=L(6, 3)), (2, 3, 6, 6), IMAGES),
}  # fmt: skip
