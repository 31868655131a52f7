"""A small model of text, byte by byte, whose heads see a window each or the first bytes too; trained and compiled.

    python examples/sparse_attention.py [STEPS]

The text is Python's own documentation of its language, which comes with it.
"""

import sys
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn

import l0compile as l0


class Block(nn.Module):
    """Attention to the keys of a pattern, and a feed-forward layer, each added to its input."""

    def __init__(self, width: int, heads: int, keys: l0.attention.Pattern, tokens: int) -> None:
        super().__init__()
        self.attention = l0.attention.SparseAttention(width, heads, keys, tokens)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.feed_forward(self.norms[1](x))


class Bytes(nn.Module):
    """Predicts each byte from those before it."""

    def __init__(self, tokens: int, width: int = 64, heads: int = 4) -> None:
        super().__init__()
        near, far = l0.attention.SlidingWindow(32), l0.attention.StreamingLLM(start_size=4, recent_size=96)
        keys = l0.attention.PerHead((near,) * (heads // 2) + (far,) * (heads // 2))
        self.embed, self.place = nn.Embedding(256, width), nn.Parameter(torch.randn(tokens, width) * 0.1)
        self.blocks = nn.Sequential(*(Block(width, heads, keys, tokens) for _ in range(2)))
        self.answer = nn.Linear(width, 256)

    def forward(self, text: Tensor) -> Tensor:
        return self.answer(self.blocks(self.embed(text) + self.place))


def main(steps: int = 200, tokens: int = 512) -> None:
    """Train, compile, and print the loss before and after and what the compiled model is made of."""
    torch.manual_seed(0)
    text = torch.tensor(list("\n".join(topics.values()).encode()))
    model = Bytes(tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        begin = torch.randint(len(text) - tokens, (4,))
        batch = torch.stack([text[i : i + tokens] for i in begin])
        loss = nn.functional.cross_entropy(model(batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (0, steps - 1):
            print(f"step {step + 1}: {loss.item():.2f} nats a byte")
    model.eval()
    compiled = l0.compile(model, (text[None, :tokens],))
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(text[None, -tokens:]), model(text[None, -tokens:]), rtol=1e-3, atol=1e-4
        )
    print(compiled.explain())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
