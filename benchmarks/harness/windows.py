"""Attention through a window in every engine: the operands, and a call without arguments."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ENGINES = ("l0compile", "l0compile-dense", "pytorch", "flex-64", "flex-128")
Call = Callable[[], Any]


@dataclass(frozen=True)
class Window:
    """Self-attention of one sequence in which a query sees ``before`` keys before it and ``after`` behind it."""

    tokens: int
    before: int
    after: int
    heads: int = 12
    dim: int = 64

    @property
    def name(self) -> str:
        return f"{self.heads}x{self.dim} tokens {self.tokens} window {self.before}+{self.after}"

    @property
    def kept(self) -> float:
        """Return the share of the scores that the window keeps."""
        at = torch.arange(self.tokens)
        seen = (at + self.after).clamp(max=self.tokens - 1) - (at - self.before).clamp(min=0) + 1
        return float(seen.double().sum()) / self.tokens**2


def engines(window: Window) -> tuple[str, ...]:
    """Return the engines that are compared on a window: PyTorch and FlexAttention on causal ones of 256 keys."""
    return ENGINES if (window.before, window.after) == (255, 0) else ENGINES[:2]


def prepare(engine: str, window: Window, folder: Path) -> Call:
    """Return the call to time; what is built is kept in ``folder``."""
    torch.manual_seed(0)
    rows = [torch.randn(1, window.tokens, window.heads * window.dim) for _ in "qkv"]
    if engine.startswith("l0compile"):
        return _kernel(window, folder, engine == "l0compile", rows)
    heads = [t.unflatten(-1, (window.heads, -1)).transpose(1, 2).contiguous() for t in rows]
    return _sdpa(heads) if engine == "pytorch" else _flex(window, int(engine.partition("-")[2]), heads)


def _kernel(window: Window, folder: Path, narrow: bool, rows: list[torch.Tensor]) -> Call:
    from l0compile.hardware._tvm import runtime, tvm, tvm_target
    from l0compile.hardware.targets import load_target
    from l0compile.kernels import emit
    from l0compile.kernels.cpu.attention.spec import AttentionSpec
    from l0compile.kernels.token_tile import token_tile

    target = load_target("native")
    tile, limits = token_tile(target), (window.before, window.after) if narrow else (None, None)
    path = folder / f"{window.heads}x{window.dim}_{limits[0]}_{limits[1]}.so"
    if not path.exists():
        spec = AttentionSpec(window.heads, window.heads, window.dim, window.dim, window.dim**-0.5, *limits)
        function = emit(spec, tile).with_attr("global_symbol", "main")
        tvm.compile(function, target=tvm_target(target)).export_library(str(path))
    packed = [torch.ops.l0compile.pack(t, tile.lanes) for t in rows]
    operands = [runtime.from_dlpack(t) for t in (*packed, torch.empty_like(packed[0]))]
    function = runtime.load_module(str(path))["main"]
    return lambda: function(*operands[:3], 1, window.tokens, window.tokens, operands[3])


def _sdpa(heads: list[torch.Tensor]) -> Call:
    """Return PyTorch's own causal attention: it has no window."""

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return torch.nn.functional.scaled_dot_product_attention(*heads, is_causal=True)

    return call


def _flex(window: Window, block: int, heads: list[torch.Tensor]) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def seen(batch: Any, head: Any, query: Any, key: Any) -> Any:
        return (key >= query - window.before) & (key <= query + window.after)

    mask = create_block_mask(
        seen, None, None, window.tokens, window.tokens, device="cpu", BLOCK_SIZE=block, _compile=False
    )
    compiled = torch.compile(flex_attention, dynamic=False)

    def call() -> torch.Tensor:
        with torch.no_grad():
            return compiled(*heads, block_mask=mask)

    return call
