"""One attention to listed keys in every engine: the lists of a pattern, and a call without arguments."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from l0compile.ir.ops.attention.row_program import RowLists, RowProgram

Call = Callable[[], Any]
HEADS, DIM, BLOCK = 12, 64, 64


@dataclass(frozen=True)
class Listed:
    """A pattern of blocks of 64 queries and 64 keys.

    ``pattern`` is "dense", or a kind and its number: "window 256" (causal), "around 256" (to both sides), "bigbird",
    "sinks 128" (and the last 512 keys), "strided 8" (the last 4 blocks and every 8th), "random 10" (% of all blocks),
    "vertical-slash 1000" (columns, and 31 diagonals of blocks), "decode blocks 16", "decode columns 819".
    """

    pattern: str
    tokens: int

    @property
    def kind(self) -> str:
        return self.pattern.rpartition(" ")[0] or self.pattern

    @property
    def number(self) -> int:
        last = self.pattern.rpartition(" ")[2]
        return int(last) if last.isdigit() else 0

    @property
    def queries(self) -> int:
        return 1 if self.kind.startswith("decode") else self.tokens


def blocks_of(case: Listed) -> Tensor:
    """[rows, blocks] bool: the blocks with a live key."""
    torch.manual_seed(0)
    n = case.tokens // BLOCK
    i, j, near = torch.arange(n)[:, None], torch.arange(n), case.number // BLOCK
    back = i - j
    if case.kind == "random":
        return torch.rand(n, n) < case.number / 100
    if case.kind == "bigbird":
        sure = (back.abs() <= 1) | (i < 2) | (j < 2)
        others = torch.rand(n, n).masked_fill(sure, 2).argsort(1)[:, :3]
        return sure.scatter(1, others, True)
    if case.kind == "around":
        return back.abs() <= near
    if case.kind == "window":
        return (back >= 0) & (back <= near)
    if case.kind == "sinks":
        return (back >= 0) & ((back < 8) | (j < near))
    if case.kind == "strided":
        return (back >= 0) & ((back < 4) | (back % case.number == 0))
    if case.kind == "vertical-slash":
        far = 16 + torch.randperm(n - 16)[:15]
        return (back >= 0) & ((back < 16) | torch.isin(back, far))
    return torch.ones(n, n, dtype=torch.bool)


def live(case: Listed, queries: Tensor, keys: Tensor) -> Tensor:
    """Whether queries see keys, by their numbers, which broadcast; without columns."""
    if case.kind == "window":
        return (queries >= keys) & (queries - keys < case.number)
    if case.kind == "around":
        return (queries - keys).abs() <= case.number
    seen = blocks_of(case)[queries // BLOCK, keys // BLOCK]
    return seen & (queries >= keys) if case.kind in ("sinks", "strided", "vertical-slash") else seen


def program_of(case: Listed) -> RowProgram:
    """The lists of a pattern."""
    torch.manual_seed(0)
    if case.kind == "decode blocks":
        entries = torch.randperm(case.tokens // BLOCK)[: case.number].sort().values
        return RowProgram(16, BLOCK, full=_one(entries))
    if case.kind == "decode columns":
        return RowProgram(16, BLOCK, columns=_one(torch.randperm(case.tokens)[: case.number]))
    every = torch.arange(case.tokens)
    made = RowProgram.from_mask(live(case, every[:, None], every)[None, None], BLOCK, BLOCK)
    if case.kind != "vertical-slash":
        return made
    picked = torch.zeros(case.tokens, dtype=torch.bool)
    picked[torch.randperm(case.tokens)[: case.number]] = True
    rows = torch.arange(case.tokens // BLOCK)[:, None]
    free = ~blocks_of(case).repeat_interleave(BLOCK, 1) & (every < rows * BLOCK) & picked
    counts = free.sum(1)
    order = (~free).to(torch.int8).argsort(dim=1, stable=True)[:, : int(counts.max())]
    lists = RowLists(counts.to(torch.int32)[None, None], order.to(torch.int32)[None, None].contiguous())
    return replace(made, columns=lists)


def _one(entries: Tensor) -> RowLists:
    count = torch.tensor([[[len(entries)]]], dtype=torch.int32)
    return RowLists(count, entries.to(torch.int32)[None, None, None])


def kept(case: Listed) -> float:
    """The share of all scores that the pattern leaves alive."""
    program = program_of(case)
    return float(program.to_mask(case.queries, case.tokens).float().mean())


def engines(case: Listed) -> tuple[str, ...]:
    """The engines that compute a pattern; "dense" is our attention of all queries to all keys."""
    flex = case.kind not in ("dense", "decode blocks", "decode columns", "vertical-slash")
    return ("l0compile", "dense", *(("flex_attention",) if flex else ()))


def prepare(engine: str, case: Listed, folder: Path) -> Call:
    """The call to time; compiles what ``folder`` has not yet."""
    torch.manual_seed(1)
    q = torch.randn(1, case.queries, HEADS * DIM)
    k, v = (torch.randn(1, case.tokens, HEADS * DIM) for _ in "kv")
    return _flex(case, q, k, v) if engine == "flex_attention" else _ours(case, engine, folder, q, k, v)


def _ours(case: Listed, engine: str, folder: Path, *rows: Tensor) -> Call:
    from l0compile.hardware._tvm import runtime, tvm, tvm_target
    from l0compile.hardware.targets import load_target
    from l0compile.ir.ops.attention.packed_block import packed_patterns
    from l0compile.kernels import emit
    from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
    from l0compile.kernels.cpu.attention.spec import AttentionSpec
    from l0compile.kernels.token_tile import token_tile

    target, spec, lists = load_target("native"), AttentionSpec(HEADS, HEADS, DIM, DIM, DIM**-0.5, False), []
    packed = [torch.ops.l0compile.pack(t, token_tile(target).lanes) for t in rows]
    result, name, whole = torch.empty_like(packed[0]), "dense", None
    if engine == "l0compile":
        program = program_of(case)
        one = ListAxes(False, False)
        full, partial, columns = (
            one if kind else None for kind in (program.full, program.partial, program.columns)
        )
        whole = BlockAttentionSpec(spec, program.q_block, BLOCK, full, partial, partial, columns)
        lists = list(program.operands())
        lists[5] = None if program.patterns is None else packed_patterns(program.patterns)
        packed = (packed if whole.blocks else packed[:1]) + ([*rows[1:]] if columns else [])
        name = f"listed_{program.q_block}_{full is not None:d}{partial is not None:d}{columns is not None:d}"
    path = folder / f"{name}.so"
    if not path.exists():
        function = emit(whole or spec, token_tile(target)).with_attr("global_symbol", "main")
        tvm.compile(function, target=tvm_target(target)).export_library(str(path))
    given = [runtime.from_dlpack(t.contiguous()) for t in (*packed, *lists) if t is not None]
    function = runtime.load_module(str(path))["main"]
    args = (*given, 1, case.queries, case.tokens, runtime.from_dlpack(result))
    return lambda: function(*args)


def _flex(case: Listed, *rows: Tensor) -> Call:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    q, k, v = (t.unflatten(-1, (HEADS, DIM)).transpose(1, 2).contiguous() for t in rows)
    seen = blocks_of(case) if case.kind not in ("window", "around") else None

    def mask_mod(b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        if seen is None:
            return live(case, i, j)
        inside = seen[i // BLOCK, j // BLOCK]
        return inside & (i >= j) if case.kind in ("sinks", "strided") else inside

    mask = create_block_mask(mask_mod, None, None, case.tokens, case.tokens, device="cpu", BLOCK_SIZE=BLOCK)
    compiled = torch.compile(flex_attention)

    def call() -> Tensor:
        with torch.inference_mode():
            return compiled(q, k, v, block_mask=mask)  # type: ignore[no-any-return]

    return call
