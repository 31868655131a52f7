"""The methods of sparse attention as models to time, with the dense attention that each one replaces."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.attention.layers.static_program import StaticProgram

A = l0.attention
HEADS, DIM, FRAMES = 12, 64, 8
Keys = A.Pattern | A.Selector


@dataclass(frozen=True)
class Method:
    """A method to time.

    Attributes:
        name: As in the table of the documentation.
        causal: What it is compared with: causal attention, or attention to all keys.
        keys: Number of tokens -> the pattern or selector, with the parameters of its source where these fit.
    """

    name: str
    causal: bool
    keys: Callable[[int], Keys]


def _image(tokens: int) -> tuple[int, int]:
    height = 1 << (tokens.bit_length() - 1) // 2
    return height, tokens // height


def _video(kind: type[A.SpatialHead] | type[A.TemporalHead], tokens: int) -> A.Pattern:
    """A video of eight frames, whose blocks are smaller than those of the source where frames are."""
    return kind(FRAMES, tokens // FRAMES, block_size=min(128, tokens // 32))


METHODS = (
    Method("sliding window", True, lambda n: A.SlidingWindow(256)),
    Method("shifted windows", False, lambda n: A.SwinWindows(*_image(n), window_size=8, shift_size=4)),
    Method("dilated window", False, lambda n: A.Dilated(128, 4)),
    Method("strided", True, lambda n: A.Strided(128)),
    Method("fixed", True, lambda n: A.FixedStride(128, 8)),
    Method("Longformer", False, lambda n: A.Longformer()),
    Method("BigBird", False, lambda n: A.BigBird()),
    Method("StreamingLLM", True, lambda n: A.StreamingLLM()),
    Method("A-shape", True, lambda n: A.AShape(100, 800)),
    Method("tri-shape", True, lambda n: A.TriShape(30, 1024)),
    Method("local and strided blocks", True, lambda n: A.Phi3Small()),
    Method("diagonals", False, lambda n: A.MultiDiagonal(64, n // FRAMES)),
    Method("stripes", False, lambda n: A.VerticalStripes(16, n // FRAMES)),
    Method("spatial head", False, lambda n: _video(A.SpatialHead, n)),
    Method("temporal head", False, lambda n: _video(A.TemporalHead, n)),
    Method("attention bottlenecks", False, lambda n: A.AttentionBottlenecks((n // 2 - 2, n // 2 - 2))),
    Method("sparse edges", False, lambda n: A.SvittEdges(block_size=64)),
    Method("block-sparse", True, lambda n: A.PooledScores(64, max(2, n // 640))),
    Method("block-sparse, both sides", False, lambda n: A.PooledScores(64, max(2, n // 640), causal=False)),
    Method("vertical-slash", True, lambda n: A.VerticalSlash(1000, 2000)),
    Method("antidiagonal sums", True, lambda n: A.AntidiagonalScores(max_blocks=max(2, n // 640))),
    Method("top keys of a query", True, lambda n: A.RowTopK(128, q_block=64)),
    Method("low-rank scores", True, lambda n: A.LowRankScores(HEADS, DIM, topk=128, q_block=64)),
    Method("a subset of channels", True, lambda n: A.DoubleSparsity(HEADS, DIM, q_block=64)),
    Method("hashing", True, lambda n: A.HashedScores(DIM)),
    Method("clusters", True, lambda n: A.RoutedScores(HEADS, DIM)),
    Method("sparse columns", False, lambda n: A.ChipmunkColumns(n // 20, n // 100)),
    Method("spatial or temporal", False, lambda n: A.OnlinePatterns(
        (_video(A.SpatialHead, n), _video(A.TemporalHead, n)), n, HEADS,
    )),
)  # fmt: skip


class Listed(nn.Module):
    """Attention to the keys of a pattern or of a selector, selection included."""

    def __init__(self, keys: Keys, tokens: int) -> None:
        super().__init__()
        self.keys = keys if isinstance(keys, A.Selector) else StaticProgram(keys, tokens, HEADS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return A.attend(q, k, v, self.program(q, k), HEADS)

    def program(self, q: Tensor, k: Tensor) -> A.RowProgram:
        keys = self.keys
        return keys(q, k, HEADS) if isinstance(keys, A.Selector) else keys(q.shape[1])


class Dense(nn.Module):
    """Attention to all keys, or to those that do not come later."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return y.transpose(1, 2).flatten(-2)


def inputs(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make q, k and v [1, tokens, width] with attention that falls with distance, and some keys that many look at.

    Noise alone would spread what a selector chooses over all blocks, which trained models do not.
    """
    torch.manual_seed(0)
    quantiles = torch.special.ndtri(0.5 + (torch.arange(16) + 0.5) / 32)
    turns = torch.arange(tokens).unsqueeze(1) * quantiles * 4 / tokens
    place = torch.cat([turns.cos(), turns.sin()], 1).repeat(1, HEADS * DIM // 32) * 1.5
    q, k = (place + torch.randn(tokens, HEADS * DIM) / 2 for _ in range(2))
    k[torch.randperm(tokens)[: tokens // 16]] *= 1.5
    return q.unsqueeze(0), k.unsqueeze(0), torch.randn(1, tokens, HEADS * DIM)


def compiled(model: nn.Module, args: tuple[Tensor, ...]) -> Any:
    """Compile ``model``; its verification would need dense masks, and is what the tests do on smaller sizes."""
    return l0.compile(model.eval(), args, verify=False, engine="tvm")


def turns(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of calls that take turns for so many seconds, three times each at least, after one each."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples[next(iter(calls))]) < 3:
        for name, call in calls.items():
            call()  # what the other one left in the caches is not its own cost
            begin = time.perf_counter()
            call()
            samples[name].append((time.perf_counter() - begin) * 1e3)
    return samples


def compare(method: Method, tokens: int, seconds: float) -> dict[str, Any]:
    """Time a method in turns with dense attention.

    Returns:
        A row: medians and quartiles in ms, what share of all scores is computed, and how long the lists of a pattern
        take to make, once.
    """
    args = inputs(tokens)
    build_ms = []
    for _ in range(2):  # the first also pays for what PyTorch sets up
        begin = time.perf_counter()
        keys = method.keys(tokens)
        model = Listed(keys, tokens)
        build_ms.append((time.perf_counter() - begin) * 1e3)
    with torch.no_grad():
        kept = model.program(*args[:2]).kept(tokens, tokens)
        ours, dense = compiled(model, args), compiled(Dense(method.causal), args)
        samples = turns({"ms": lambda: ours(*args), "dense_ms": lambda: dense(*args)}, seconds)
    middle = {name: median(times) for name, times in samples.items()}
    low, high = (sorted(samples["ms"])[len(samples["ms"]) * i // 4] for i in (1, 3))
    return {
        "axis": "method", "method": method.name, "tokens": tokens, "causal": method.causal,
        "parameters": str(keys) if isinstance(keys, A.Pattern) else type(keys).__name__, "kept": round(kept, 4),
        "build_ms": round(build_ms[1], 2), **{name: round(value, 3) for name, value in middle.items()},
        "quartiles_ms": [round(low, 3), round(high, 3)],
        "speedup": round(middle["dense_ms"] / middle["ms"], 3),
        "efficiency": round(middle["dense_ms"] * kept * (2 if method.causal else 1) / middle["ms"], 3),
    }  # fmt: skip


def break_even(rows: list[dict[str, Any]]) -> float | None:
    """The number of tokens from which on a method is quicker, between measured ones by the logarithms of its gains."""
    rows = sorted(rows, key=lambda row: row["tokens"])
    slower = [place for place, row in enumerate(rows) if row["speedup"] < 1.0]
    if not slower:
        return float(rows[0]["tokens"])
    if slower[-1] == len(rows) - 1:
        return None
    one, other = rows[slower[-1]], rows[slower[-1] + 1]
    gain, more = math.log(one["speedup"]), math.log(other["speedup"])
    share = gain / (gain - more)
    return round(float(one["tokens"] * (other["tokens"] / one["tokens"]) ** share))
