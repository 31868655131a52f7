"""A call of flex_attention -> attention over all keys, over the blocks of its mask, or ordinary tensor operators."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.errors import CaptureError
from l0compile.frontend.flex.block_lists import check_lists
from l0compile.frontend.flex.call import FlexCall
from l0compile.frontend.flex.computed import bias_of, blocks_of, dense_attention, dense_mask, every_block
from l0compile.frontend.flex.fixed_mask import FixedMask, MaskSize, evaluate
from l0compile.frontend.flex.mod import Mod, on_grid
from l0compile.frontend.flex.score import ScoreForm, read_score
from l0compile.frontend.flex.writer import Writer
from l0compile.ir.nodes import is_static, same_size, shape
from l0compile.ir.ops.attention.row_program import RowLists
from l0compile.ir.records import ATTENTION_NOTE, AttentionNote

aten = torch.ops.aten
_SDPA, _BLOCKS = aten.scaled_dot_product_attention.default, torch.ops.l0compile.block_attention.default
_BLOCK, _SMALLEST = 64, 16
Results = tuple[fx.Node, fx.Node | None]


def lower_flex_attention(call: FlexCall, writer: Writer) -> Results:
    """Write what a call of flex_attention computes to a graph.

    A mask that follows from positions and constants is evaluated now. If every key is live, or every key up to the
    query, and the scores are only scaled, ordinary attention remains; else the mask becomes a row program of constants.
    A mask that depends on inputs is evaluated in the graph, at all positions, as eager flex_attention does. What the
    kernels do not compute becomes products of matrices, a softmax and what the score_mod says in tensor operators.

    Args:
        call: the call.
        writer: adds to the graph.

    Returns:
        The output, and log2 of the sum of the exponentials of the scores if the model reads it.

    Raises:
        CaptureError: The block lists of the mask and its mask_mod tell of different masks, or the model reads the
            largest scores.
    """
    with writer.on_behalf_of(call.source):
        return _Lowering(call, writer, read_score(call.score_mod, writer.value)).run()


@dataclass(frozen=True, eq=False)
class _Lowering:
    call: FlexCall
    writer: Writer
    form: ScoreForm

    def run(self) -> Results:
        if self.call.result_is_read(2):
            raise CaptureError(
                f"capture: {self.call.where}: expected flex_attention without max_scores, which no CPU computes. What "
                "to do: leave it out of AuxRequest"
            )
        fixed = self._fixed_mask
        self._check(fixed)
        refusal = self._refusal()
        if refusal:
            return self._dense(refusal)
        if self.form.live and fixed is not None:
            fixed = self._fixed(self._masks)
        if self._is_plain(fixed):
            return self._ordinary(fixed is not None and fixed.is_causal and not fixed.is_full), None
        return self._blocks(fixed)

    @property
    def _masks(self) -> list[Mod]:
        return [self.call.mask_mod, *self.form.live]

    @property
    def _heads(self) -> int:
        return int(shape(self.call.query)[1])

    @property
    def _sizes(self) -> tuple[Any, Any, Any, Any]:
        """Batches, heads, queries and keys."""
        batches, heads, queries, _ = shape(self.call.query)
        return batches, heads, queries, shape(self.call.key)[2]

    @property
    def _block_sizes(self) -> tuple[int, int]:
        """Blocks of the kernel: those of the mask if they suit it."""
        given = (self.call.q_block, self.call.k_block)
        small = tuple(size if size < _BLOCK and size % _SMALLEST == 0 else _BLOCK for size in given)
        return small[0], small[1]

    def _refusal(self) -> str:
        """Why no attention kernel computes this call; empty if one does."""
        dtype = self.call.query.meta["val"].dtype
        if self.form.reason:
            return self.form.reason
        return "" if dtype == torch.float32 or self._no_mods() else f"it is in {dtype}"

    def _no_mods(self) -> bool:
        return not self.form.live and self._is_plain(self._fixed_mask)

    @cached_property
    def _fixed_mask(self) -> FixedMask | None:
        """What mask_mod says, without the conditions of the score_mod."""
        return self._fixed([self.call.mask_mod])

    def _fixed(self, masks: Sequence[Mod]) -> FixedMask | None:
        """The mask if it follows from positions and constants, None if not."""
        names = frozenset[str]().union(*(mod.reads() for mod in masks))
        batches, heads, queries, keys = self._sizes
        if not (is_static(queries) and is_static(keys)) or ("batch" in names and not is_static(batches)):
            return None
        known = [(mod, _values(self.writer, mod)) for mod in masks]
        if any(buffers is None for _, buffers in known):
            return None
        count = batches if is_static(batches) else 1
        size = MaskSize(int(count), int(heads), int(queries), int(keys), *self._block_sizes)
        return evaluate(
            [(mod, buffers or ()) for mod, buffers in known], size, (self.call.q_block, self.call.k_block)
        )

    def _check(self, fixed: FixedMask | None) -> None:
        """Compare the lists with mask_mod, as far as both are known."""
        if fixed is None:
            return
        counts, blocks, full_counts, full_blocks = (
            self.writer.value(item, sizes=True) for item in self.call.lists
        )
        if counts is None or blocks is None or (full_counts is None) != (self.call.lists[2] is None):
            raise CaptureError(
                f"capture: {self.call.where}: expected a BlockMask whose block lists and mask_mod agree, got lists "
                "that are computed from inputs (compiled FlexAttention reads only the listed blocks) and a mask_mod "
                "that does not depend on them (eager FlexAttention reads no list). What to do: give "
                "BlockMask.from_kv_blocks a mask_mod that looks up which blocks are chosen"
            )
        full = None if full_counts is None else RowLists(full_counts, full_blocks)
        check_lists(RowLists(counts, blocks), full, fixed.summary, self.call.where)

    def _is_plain(self, fixed: FixedMask | None) -> bool:
        """Whether ordinary attention computes this call."""
        if not self.form.is_plain or self.call.result_is_read(1):
            return False
        if fixed is None:
            return not self.form.live and _is_always_true(self.call.mask_mod)
        return fixed.is_full or fixed.is_causal

    def _ordinary(self, causal: bool) -> fx.Node:
        query, key, value = self._operands()
        shared = not same_size(shape(query)[1], shape(key)[1])
        return self.writer.call(
            _SDPA, query, key, value, None, 0.0, causal, scale=self._scale, enable_gqa=shared
        )

    @property
    def _scale(self) -> float:
        return self.call.scale * self.form.scale

    def _operands(self) -> tuple[fx.Node, fx.Node, fx.Node]:
        """Queries, keys and values with one number of batches."""
        batches = shape(self.call.query)[0]

        def repeated(node: fx.Node) -> fx.Node:
            if same_size(shape(node)[0], batches):
                return node
            found: fx.Node = self.writer.trace(
                lambda t, q: t.expand(q.shape[0], *t.shape[1:]), node, self.call.query
            )
            return found

        return self.call.query, repeated(self.call.key), repeated(self.call.value)

    def _blocks(self, fixed: FixedMask | None) -> Results:
        bias, finite = self._bias()
        form = self.form
        if finite:
            masks = [*self._masks, *finite]
            fixed = None if fixed is None else self._fixed(masks)
        else:
            masks = self._masks
        q_block, k_block = self._block_sizes
        lists = self._lists(fixed, masks)
        call, width = self.writer.call, int(shape(self.call.value)[3])
        joined = [
            call(aten.flatten.using_ints, call(aten.transpose.int, t, 1, 2), 2, 3) for t in self._operands()
        ]
        wants_sums = self.call.result_is_read(1)
        fused = call(
            _BLOCKS, *joined, *lists, None, None, None, bias,
            self._heads, q_block, k_block, self._scale, form.softcap, wants_sums,
        )  # fmt: skip
        kept = "its mask is computed from inputs" if fixed is None else _kept(fixed, self._sizes)
        fused.meta[ATTENTION_NOTE] = AttentionNote(self._heads, width, f"flex_attention: {kept}")
        sums = None
        if wants_sums:
            features = self._heads * width
            logs = call(aten.slice.Tensor, fused, 2, features, features + self._heads)
            sums = call(aten.div.Tensor, call(aten.transpose.int, logs, 1, 2), math.log(2))
            fused = call(aten.slice.Tensor, fused, 2, 0, features)
        split = call(aten.unflatten.int, fused, -1, [self._heads, width])
        return call(aten.transpose.int, split, 1, 2), sums

    def _lists(self, fixed: FixedMask | None, masks: Sequence[Mod]) -> Sequence[Any]:
        """The first six operands of the block attention."""
        if fixed is not None:
            return [
                None if tensor is None else self.writer.constant("flex_attention_blocks", tensor)
                for tensor in fixed.program.operands()[:6]
            ]
        sizes = self._block_sizes
        if len(masks) == 1 and _is_always_true(masks[0]):
            full = self.writer.trace(lambda q, k: every_block(q.shape[2], k.shape[2], *sizes), *self._ends)
            return [*full, None, None, None, None]
        found: Sequence[Any] = self._traced(lambda mask: blocks_of(mask, *sizes), masks)
        return found

    @property
    def _ends(self) -> tuple[fx.Node, fx.Node]:
        return self.call.query, self.call.key

    def _traced(self, function: Any, masks: Sequence[Mod]) -> Any:
        """Add ``function`` of the dense mask to the graph."""
        counts = [len(mod.buffers) for mod in masks]

        def mask(query: Tensor, key: Tensor, *buffers: Any) -> Any:
            known = [(mod, own) for mod, own in zip(masks, _split(buffers, counts), strict=True)]
            return function(dense_mask(known, (*query.shape[:3], key.shape[2])))

        return self.writer.trace(mask, *self._ends, *(buffer for mod in masks for buffer in mod.buffers))

    def _bias(self) -> tuple[fx.Node | None, list[Mod]]:
        """What is added to the scores by distance, and the conditions under which it is not -inf."""
        terms = self.form.terms
        if not terms:
            return None, []
        _, heads, queries, keys = self._sizes
        heads = heads if any("head" in mod.reads() for _, mod in terms) else 1
        known = [_values(self.writer, mod) for _, mod in terms]
        if is_static(queries) and is_static(keys) and all(buffers is not None for buffers in known):
            pairs = [(*term, buffers or ()) for term, buffers in zip(terms, known, strict=True)]
            table = bias_of(pairs, int(heads), int(queries), int(keys))
            if bool(torch.isfinite(table).all()):
                return self.writer.constant("flex_attention_bias", table), []
            finite = [mod.then(aten.isfinite.default) for _, mod in terms]
            return self.writer.constant("flex_attention_bias", table.nan_to_num(neginf=0.0)), finite
        counts = [len(mod.buffers) for _, mod in terms]

        def bias(query: Tensor, key: Tensor, *buffers: Any) -> Tensor:
            own = _split(buffers, counts)
            pairs = [(*term, given) for term, given in zip(terms, own, strict=True)]
            return bias_of(pairs, int(heads), query.shape[2], key.shape[2])

        flat = (buffer for _, mod in terms for buffer in mod.buffers)
        return self.writer.trace(bias, *self._ends, *flat), []

    def _dense(self, reason: str) -> Results:
        """Ordinary tensor operators that compute what eager flex_attention does."""
        mods = (self.call.score_mod, self.call.mask_mod)
        counts = [len(mod.buffers) for mod in mods]
        read = [mods[0].reads(), mods[1].reads()]

        def attention(query: Tensor, key: Tensor, value: Tensor, *buffers: Any) -> tuple[Tensor, Tensor]:
            scored, masked = _split(buffers, counts)
            sizes = (*query.shape[:3], key.shape[2])
            place = [torch.arange(size) for size in sizes]
            mask = None if not read[1] else dense_mask([(mods[1], masked)], sizes)
            return dense_attention(
                query, key, value, self.call.scale, lambda score: on_grid(mods[0], place, scored, score), mask
            )

        output, sums = self.writer.trace(
            attention, *self._operands(), *(buffer for mod in mods for buffer in mod.buffers)
        )
        note = AttentionNote(
            self._heads, int(shape(self.call.query)[3]), f"flex_attention in ordinary operators: {reason}"
        )
        _softmax_of(output).meta[ATTENTION_NOTE] = note
        return output, sums


def _values(writer: Writer, mod: Mod) -> list[Any] | None:
    """The values of the buffers of a function, None if one that it reads depends on inputs."""
    read = mod.reads()
    values = [
        writer.value(buffer) if f"buffer {number}" in read else 0 for number, buffer in enumerate(mod.buffers)
    ]
    return None if any(value is None for value in values) else values


def _split(buffers: Sequence[Any], counts: Sequence[int]) -> list[Sequence[Any]]:
    parts, start = list[Sequence[Any]](), 0
    for count in counts:
        parts.append(buffers[start : start + count])
        start += count
    return parts


def _is_always_true(mod: Mod) -> bool:
    """Whether a mask_mod is that of a call without a mask."""
    result = mod.result
    return result.op == "call_function" and result.target in (aten.new_ones.default, aten.ones_like.default)


def _kept(fixed: FixedMask, sizes: Sequence[Any]) -> str:
    program = fixed.program
    share = program.kept(int(sizes[2]), int(sizes[3]))
    return f"{share:.0%} of the scores are computed, in blocks of {program.q_block}×{program.k_block}"


def _softmax_of(output: fx.Node) -> fx.Node:
    """The softmax that was written last."""
    node = output
    while node.op == "call_function" and "softmax" not in str(node.target):
        node = node.prev
    return node
