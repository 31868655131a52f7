"""The operators that a call of flex_attention becomes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.frontend.flex.call import FlexCall
from l0compile.frontend.flex.computed import (
    bias_of,
    blocks_of,
    dense_attention,
    dense_mask,
    every_block,
    listed_patterns,
)
from l0compile.frontend.flex.conditions import PlaceCondition
from l0compile.frontend.flex.mod import Mod, on_grid
from l0compile.frontend.flex.writer import GraphWriter
from l0compile.ir.nodes import same_size, shape
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.ir.records import ATTENTION_NOTE, AttentionNote

aten = torch.ops.aten
_LARGEST, _STEP = 64, 16
Results = tuple[fx.Node, fx.Node | None]


@dataclass(frozen=True, eq=False)
class Emitter:
    """Writes the operators for one call; values have [B, heads, S, D], as flex_attention takes them."""

    call: FlexCall
    writer: GraphWriter

    @property
    def sizes(self) -> tuple[Any, Any, Any, Any]:
        """Batches, query heads, queries and keys."""
        batches, heads, queries, _ = shape(self.call.query)
        return batches, heads, queries, shape(self.call.key)[2]

    @property
    def block_sizes(self) -> tuple[int, int]:
        """Queries and keys of the blocks of the kernel: those of the mask if they suit it."""
        q_block, k_block = (
            size if size < _LARGEST and size % _STEP == 0 else _LARGEST
            for size in (self.call.q_block, self.call.k_block)
        )
        return q_block, k_block

    def ordinary(self, scale: float, causal: bool) -> fx.Node:
        """Attention over all keys, or those up to the query."""
        query, key, value = self._operands()
        shared = not same_size(shape(query)[1], shape(key)[1])
        operator = aten.scaled_dot_product_attention.default
        return self.writer.call(
            operator, query, key, value, None, 0.0, causal, scale=scale, enable_gqa=shared
        )

    def masked(self, scale: float, keys: fx.Node, causal: bool) -> fx.Node:
        """The same over the keys that a mask [B, heads, 1, K] leaves."""
        operator = torch.ops.l0compile.attention.default
        window = (None, 0 if causal else None)
        fused = self.writer.call(operator, *self._joined(), keys, self._heads, scale, *window)
        return self._split(fused)

    def blocks(
        self,
        lists: Sequence[Any],
        keys: fx.Node | None,
        bias: fx.Node | None,
        scale: float,
        softcap: float,
        kept: str,
    ) -> Results:
        """Attention over listed blocks."""
        call, wants_sums = self.writer.call, self.call.result_is_read(1)
        fused = call(
            torch.ops.l0compile.block_attention.default, *self._joined(), *lists, None, None, keys, bias,
            self._heads, *self.block_sizes, scale, softcap, wants_sums,
        )  # fmt: skip
        fused.meta[ATTENTION_NOTE] = AttentionNote(self._heads, self._width, f"flex_attention: {kept}")
        if not wants_sums:
            return self._split(fused), None
        features = self._heads * self._width
        logs = call(aten.slice.Tensor, fused, 2, features, features + self._heads)
        sums = call(aten.div.Tensor, call(aten.transpose.int, logs, 1, 2), math.log(2))
        return self._split(call(aten.slice.Tensor, fused, 2, 0, features)), sums

    def dense(self, reason: str) -> Results:
        """Ordinary tensor operators that compute what eager flex_attention does."""
        mods = (self.call.score_mod, self.call.mask_mod)

        def attention(query: Tensor, key: Tensor, value: Tensor, *buffers: Any) -> tuple[Tensor, Tensor]:
            scored, masked = _split_buffers(buffers, mods)
            sizes = (*query.shape[:3], key.shape[2])
            place = [torch.arange(size) for size in sizes]
            return dense_attention(
                query,
                key,
                value,
                self.call.scale,
                lambda score: on_grid(mods[0], place, scored, score),
                dense_mask([(mods[1], masked)], sizes),
            )

        output, sums = self.writer.trace(attention, *self._operands(), *_buffers(mods))
        text = f"flex_attention in ordinary operators: {reason}"
        _softmax_of(output).meta[ATTENTION_NOTE] = AttentionNote(self._heads, self._width, text)
        return output, sums

    def key_mask(self, conditions: Sequence[PlaceCondition]) -> fx.Node:
        """[b, h, 1, K] bool, which keys are live by conditions on keys, batch and head."""
        mods = [condition.mod for condition in conditions]

        def mask(query: Tensor, key: Tensor, *buffers: Any) -> Tensor:
            return dense_mask(_pairs(mods, buffers), (*query.shape[:3], key.shape[2]))

        found: fx.Node = self.writer.trace(mask, *self._ends, *_buffers(mods))
        return found

    def fixed_lists(self, program: RowProgram) -> Sequence[Any]:
        """The first six operands of block attention, as constants."""
        return [
            None if tensor is None else self.writer.constant("flex_attention_blocks", tensor)
            for tensor in program.operands()[:6]
        ]

    def lists_of(self, conditions: Sequence[PlaceCondition]) -> Sequence[Any]:
        """The same, computed from all positions of the mask."""
        mods, blocks = [condition.mod for condition in conditions], self.block_sizes
        if not mods:
            full = self.writer.trace(lambda q, k: every_block(q.shape[2], k.shape[2], *blocks), *self._ends)
            return [*full, None, None, None, None]

        def lists(query: Tensor, key: Tensor, *buffers: Any) -> Any:
            mask = dense_mask(_pairs(mods, buffers), (*query.shape[:3], key.shape[2]))
            return blocks_of(mask.expand(-1, -1, query.shape[2], -1), *blocks)

        found: Sequence[Any] = self.writer.trace(lists, *self._ends, *_buffers(mods))
        return found

    def listed(self, program: RowProgram, conditions: Sequence[PlaceCondition]) -> Sequence[Any]:
        """The same for the blocks of ``program``, in which further conditions must hold."""
        mods = [condition.mod for condition in conditions]
        counts, *tables = (
            self.writer.constant("flex_attention_blocks", tensor) for tensor in _as_partial(program)
        )

        def patterns(query: Tensor, key: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
            entries, numbers, table, *buffers = given
            sizes = (*query.shape[:3], key.shape[2])
            known = table[numbers.long()]
            return listed_patterns(_pairs(mods, buffers), entries, known, sizes, self.block_sizes)

        table, numbers = self.writer.trace(patterns, *self._ends, *tables, *_buffers(mods))
        return [None, None, counts, tables[0], numbers, table]

    def bias(self, terms: Sequence[tuple[float, Mod]], heads: int) -> fx.Node:
        """What terms add to the scores by distance: [heads, Q + K - 1]."""
        mods = [mod for _, mod in terms]

        def bias(query: Tensor, key: Tensor, *buffers: Any) -> Tensor:
            pairs = zip((factor for factor, _ in terms), _pairs(mods, buffers), strict=True)
            return bias_of([(factor, *pair) for factor, pair in pairs], heads, query.shape[2], key.shape[2])

        found: fx.Node = self.writer.trace(bias, *self._ends, *_buffers(mods))
        return found

    def constant_bias(self, table: Tensor) -> fx.Node:
        """The same, known."""
        return self.writer.constant("flex_attention_bias", table)

    @property
    def _heads(self) -> int:
        return int(shape(self.call.query)[1])

    @property
    def _width(self) -> int:
        return int(shape(self.call.value)[3])

    @property
    def _ends(self) -> tuple[fx.Node, fx.Node]:
        """Nodes whose sizes are those of the mask."""
        return self.call.query, self.call.key

    def _operands(self) -> tuple[fx.Node, fx.Node, fx.Node]:
        """Queries, keys and values with one number of batches."""

        def repeated(node: fx.Node) -> fx.Node:
            if same_size(shape(node)[0], shape(self.call.query)[0]):
                return node
            found: fx.Node = self.writer.trace(
                lambda t, q: t.expand(q.shape[0], *t.shape[1:]), node, self.call.query
            )
            return found

        return self.call.query, repeated(self.call.key), repeated(self.call.value)

    def _joined(self) -> list[fx.Node]:
        """Queries, keys and values as [B, S, heads * D]."""
        call = self.writer.call
        return [
            call(aten.flatten.using_ints, call(aten.transpose.int, operand, 1, 2), 2, 3)
            for operand in self._operands()
        ]

    def _split(self, joined: fx.Node) -> fx.Node:
        split = self.writer.call(aten.unflatten.int, joined, -1, [self._heads, self._width])
        return self.writer.call(aten.transpose.int, split, 1, 2)


def _buffers(mods: Sequence[Mod]) -> list[Any]:
    return [buffer for mod in mods for buffer in mod.buffers]


def _split_buffers(buffers: Sequence[Any], mods: Sequence[Mod]) -> list[Sequence[Any]]:
    parts, start = list[Sequence[Any]](), 0
    for mod in mods:
        parts.append(buffers[start : start + len(mod.buffers)])
        start += len(mod.buffers)
    return parts


def _pairs(mods: Sequence[Mod], buffers: Sequence[Any]) -> list[tuple[Mod, Sequence[Any]]]:
    return list(zip(mods, _split_buffers(buffers, mods), strict=True))


def _as_partial(program: RowProgram) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(counts, entries, numbers, patterns) of all blocks of a program; pattern 0 has every position."""
    size = (program.q_block, program.k_block)
    patterns = torch.ones(1, *size, dtype=torch.bool)
    assert program.full is not None
    entries, listed = program.full.entries, program.full.listed()
    numbers = torch.zeros_like(entries)
    if program.partial is not None and program.pattern_numbers is not None and program.patterns is not None:
        entries = torch.cat([entries, program.partial.entries], -1)
        listed = torch.cat([listed, program.partial.listed()], -1)
        numbers = torch.cat([numbers, program.pattern_numbers + 1], -1)
        patterns = torch.cat([patterns, program.patterns])
    order = torch.argsort((~listed).to(torch.int8), dim=-1, stable=True)[
        ..., : max(1, int(listed.sum(-1).max()))
    ]
    return listed.sum(-1).to(torch.int32), entries.gather(-1, order), numbers.gather(-1, order), patterns


def _softmax_of(output: fx.Node) -> fx.Node:
    """The softmax that was written last."""
    node = output
    while "softmax" not in str(node.target):
        node = node.prev
    return node
