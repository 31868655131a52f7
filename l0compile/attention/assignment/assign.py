"""Give each head of a model's attention its own sparse pattern."""

from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from l0compile.attention.assignment.call import Call
from l0compile.attention.assignment.calls import Answering
from l0compile.attention.assignment.join_heads import join_heads
from l0compile.errors import InputError
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram

# Dense masks up to this size, in bytes, are kept for the next call.
_KEPT = 2**24


class HeadPattern(Hashable, Protocol):
    """Which keys a head sees, at any length. Patterns that are equal are the same, so it is hashable."""

    def program(self, queries: int, keys: int) -> RowProgram:
        """The lists of a head, [1, 1, R]."""


@dataclass(frozen=True)
class EveryKey:
    """All keys, in blocks of ``block``: a head without a pattern beside others."""

    block: int = 64

    def program(self, queries: int, keys: int) -> RowProgram:
        rows, blocks = -(-queries // self.block), -(-keys // self.block)
        entries = torch.arange(blocks, dtype=torch.int32).expand(1, 1, rows, blocks).contiguous()
        counts = torch.full((1, 1, rows), blocks, dtype=torch.int32)
        return RowProgram(self.block, self.block, RowLists(counts, entries))


@dataclass(frozen=True)
class AssignedPatterns:
    """The pattern of each head of one attention.

    Attributes:
        module: name of the module that calls it.
        heads: a pattern for each query head.
        losses: what each head loses by its pattern, if that is known; ``explain()`` tells it.
    """

    module: str
    heads: tuple[HeadPattern, ...]
    losses: tuple[float, ...] | None = None

    def answer(self, call: Call) -> Tensor:
        """Attention to the keys that the patterns show and the call's own masks leave.

        While a graph is captured it is ``l0compile::block_attention``; otherwise PyTorch's under a dense mask, which
        has gradients and, with little left to skip, is the quicker of the two there.
        """
        queries, keys = call.query.shape[2], call.key.shape[2]
        if (
            call.query.shape[1] != len(self.heads)
            or not isinstance(queries, int)
            or not isinstance(keys, int)
        ):
            raise InputError(
                f"patterns of {self.module!r}: expected {len(self.heads)} heads and lengths that are numbers, got "
                f"{call.query.shape[1]} heads, {queries} queries and {keys} keys; capture it with fixed lengths"
            )
        if torch.compiler.is_compiling():
            return _listed(call, _outside(self.heads, queries, keys, call.is_causal))
        return call.masked(_seen(self.heads, queries, keys))


@lru_cache(maxsize=256)
def program_of_heads(heads: tuple[HeadPattern, ...], queries: int, keys: int, causal: bool) -> RowProgram:
    """The row program of patterns head by head; ``causal``: without the keys behind each query."""
    each = {pattern: pattern.program(queries, keys) for pattern in heads}
    if causal:
        each = {pattern: _causal(program, queries, keys) for pattern, program in each.items()}
    sizes = {(program.q_block, program.k_block) for program in each.values()}
    least = min(q for q, _ in sizes), min(k for _, k in sizes)
    each = {
        pattern: program
        if (program.q_block, program.k_block) == least
        else RowProgram.from_mask(program.to_mask(queries, keys), *least)
        for pattern, program in each.items()
    }
    return join_heads([each[pattern] for pattern in heads])


def _causal(program: RowProgram, queries: int, keys: int) -> RowProgram:
    mask = program.to_mask(queries, keys)
    earlier = mask & torch.ones(queries, keys, dtype=torch.bool).tril()
    return (
        program
        if torch.equal(mask, earlier)
        else RowProgram.from_mask(earlier, program.q_block, program.k_block)
    )


def _outside(heads: tuple[HeadPattern, ...], queries: int, keys: int, causal: bool) -> RowProgram:
    """The same outside of a capture, whose modes (of this thread) would make the lists part of the graph."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(program_of_heads, heads, queries, keys, causal).result()


def _seen(heads: tuple[HeadPattern, ...], queries: int, keys: int) -> Tensor:
    """[1, heads, queries, keys]: what each head sees."""
    mask = _kept_mask if queries * keys <= _KEPT else _mask
    return torch.cat([mask(pattern, queries, keys) for pattern in heads], 1)


@lru_cache(maxsize=32)
def _kept_mask(pattern: HeadPattern, queries: int, keys: int) -> Tensor:
    return _mask(pattern, queries, keys)


def _mask(pattern: HeadPattern, queries: int, keys: int) -> Tensor:
    return pattern.program(queries, keys).to_mask(queries, keys)


def _listed(call: Call, program: RowProgram) -> Tensor:
    q, k, v = (t.transpose(1, 2).flatten(-2) for t in call[:3])
    heads, width = call.query.shape[1], call.query.shape[3]
    scale = width**-0.5 if call.scale is None else call.scale
    result = torch.ops.l0compile.block_attention(
        q, k, v, *program.operands(), call.attn_mask, None, heads, program.q_block, program.k_block, scale
    )
    return result.unflatten(-1, (heads, -1)).transpose(1, 2)


class _Hooks:
    """A pair of hooks of a module, between which its attention has patterns."""

    def __init__(self, assigned: AssignedPatterns) -> None:
        self.assigned = assigned
        self._modes: list[Answering] = []

    def enter(self, module: nn.Module, args: Any) -> None:
        """Begin; a forward pre-hook."""
        self._modes.append(Answering(self.assigned.answer))
        self._modes[-1].__enter__()

    def leave(self, module: nn.Module, args: Any, result: Any) -> None:
        """End; a forward hook, called whatever happens."""
        self._modes.pop().__exit__(None, None, None)


def assign_patterns(
    model: nn.Module,
    patterns: Mapping[str, Sequence[HeadPattern]],
    losses: Mapping[str, Sequence[float]] | None = None,
) -> nn.Module:
    """Have each head of some attentions of ``model`` see only what its pattern shows, in place.

    The model trains as before; compiled, keys that no pattern shows are never read. The patterns come on top of the
    model's own masks.

    Args:
        model: it calls ``scaled_dot_product_attention``.
        patterns: name of a module that calls it (see :func:`attention_sites`) -> a pattern for each query head.
        losses: the same names -> what each head loses by its pattern; ``explain()`` of the compiled model tells it.

    Returns:
        ``model``.

    Raises:
        InputError: there is no such module.
    """
    modules = dict(model.named_modules())
    for name, heads in patterns.items():
        if name not in modules:
            raise InputError(f"assign_patterns: expected the name of a module, got {name!r}")
        known = tuple(losses[name]) if losses and name in losses else None
        hooks = _Hooks(AssignedPatterns(name, tuple(heads), known))
        modules[name].register_forward_pre_hook(hooks.enter)
        modules[name].register_forward_hook(hooks.leave, always_call=True)
    return model


def assigned_patterns(model: nn.Module) -> dict[str, AssignedPatterns]:
    """Return what :func:`assign_patterns` has set, by the names that modules have in ``model``."""
    found = {}
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            hooks = getattr(hook, "__self__", None)
            if isinstance(hooks, _Hooks):
                found[name] = hooks.assigned
    return found
