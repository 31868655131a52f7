"""Keys and values of spans of tokens, each made one: the compressed branch of native sparse attention."""

import torch
from torch import Tensor, nn


class CompressSpans(nn.Module):
    """Makes one token of each span of ``span`` tokens, for each head.

    Args:
        head_dim: Width of a head.
        span: Tokens of a span, l of the paper.
        stride: Tokens between the beginnings of spans, d of the paper.
    """

    def __init__(self, head_dim: int, span: int, stride: int) -> None:
        super().__init__()
        self.span, self.stride = span, stride
        self.place = nn.Parameter(torch.zeros(span, head_dim))
        self.inner = nn.Linear(span * head_dim, head_dim)
        self.outer = nn.Linear(head_dim, head_dim)

    def forward(self, t: Tensor) -> Tensor:
        """Return [B, kv, C, D] for t [B, kv, S, D], where C spans fit into S tokens."""
        spans = t.unfold(2, self.span, self.stride).transpose(-1, -2) + self.place
        return self.outer(nn.functional.gelu(self.inner(spans.flatten(-2))))


def span_count(tokens: int, span: int, stride: int) -> int:
    """How many spans fit into so many tokens."""
    return max(0, (tokens - span) // stride + 1)


def hidden_spans(tokens: int, span: int, stride: int) -> Tensor:
    """[S, C] bool: spans that end after the query."""
    ends = torch.arange(span_count(tokens, span, stride)) * stride + span - 1
    return ends > torch.arange(tokens).unsqueeze(1)


def shares_of_blocks(tokens: int, span: int, stride: int, block: int) -> Tensor:
    """[C, N]: how many strides of each span lie in each block, by which its attention counts for the block."""
    begin = torch.arange(span_count(tokens, span, stride)).unsqueeze(1) * stride
    first = torch.arange(-(-tokens // block)) * block
    common = torch.minimum(begin + span, first + block) - torch.maximum(begin, first)
    return common.clamp(min=0) / stride
