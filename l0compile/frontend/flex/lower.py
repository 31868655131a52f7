"""A call of flex_attention -> attention over all keys, over the blocks of its mask, or ordinary tensor operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx

from l0compile.errors import CaptureError
from l0compile.frontend.flex.block_lists import check_lists
from l0compile.frontend.flex.call import FlexCall
from l0compile.frontend.flex.computed import bias_of
from l0compile.frontend.flex.conditions import PlaceCondition, conditions_of
from l0compile.frontend.flex.emit import Emitter, Results
from l0compile.frontend.flex.fixed_mask import FixedMask, MaskSize, evaluate
from l0compile.frontend.flex.mod import Mod
from l0compile.frontend.flex.score import ScoreForm, read_score
from l0compile.frontend.flex.writer import GraphWriter
from l0compile.ir.nodes import is_static
from l0compile.ir.ops.attention.row_program import RowLists

aten = torch.ops.aten


def lower_flex_attention(call: FlexCall, writer: GraphWriter) -> Results:
    """Write what a call of flex_attention computes to a graph.

    The mask is taken apart into conditions that all must hold. Those that follow from positions and constants are
    evaluated now. If they leave all keys, or all keys up to the query, and scores are only scaled, ordinary attention
    remains; else they become a row program of constants. Conditions that depend on inputs are evaluated in the graph:
    for single keys, for the blocks that are left, or for all positions. What no kernel computes becomes products of
    matrices, a softmax, and the score_mod in tensor operators. All of it is what eager flex_attention computes.

    Args:
        call: the call.
        writer: adds to the graph.

    Returns:
        The output, and log2 of the sum of the exponentials of the scores, None if the model does not read it.

    Raises:
        CaptureError: The block lists of the mask and its mask_mod tell of different masks, or the model reads the
            largest scores.
    """
    if call.result_is_read(2):
        raise CaptureError(
            f"capture: {call.where}: expected flex_attention without max_scores, which no CPU computes. What to do: "
            "leave it out of AuxRequest"
        )
    with writer.on_behalf_of(call.source):
        return _FlexLowering(
            call, writer, read_score(call.score_mod, writer.value), Emitter(call, writer)
        ).run()


@dataclass(frozen=True, eq=False)
class _FlexLowering:
    call: FlexCall
    writer: GraphWriter
    form: ScoreForm
    emit: Emitter

    def run(self) -> Results:
        own = conditions_of([self.call.mask_mod], self.writer, self.emit.sizes[0])
        self._check(own)
        if self.form.reason:
            return self.emit.dense(self.form.reason)
        bias, finite = self._bias()
        further = conditions_of([*self.form.live, *finite], self.writer, self.emit.sizes[0])
        every = [*own, *further]
        computed = [condition for condition in every if condition.values is None]
        known = [condition for condition in every if condition.values is not None]
        fixed, scale = self._fixed(own, further), self.call.scale * self.form.scale
        sees, dtype = self._sees(fixed, known), self.call.query.meta["val"].dtype
        plain = bool(sees) and self.form.is_plain and not self.call.result_is_read(1)
        if plain and not computed:
            return self.emit.ordinary(scale, sees == "causal"), None
        if dtype != torch.float32:
            return self.emit.dense(f"it is in {dtype}")
        keys = None
        if computed and all(one.of_key_alone for one in computed) and (sees or fixed is not None):
            keys, every, computed = self.emit.key_mask(computed), known, []
            if plain:
                return self.emit.masked(scale, keys, sees == "causal"), None
        lists, kept = self._lists(fixed, every, computed)
        return self.emit.blocks(lists, keys, bias, scale, self.form.softcap, kept)

    def _check(self, own: Sequence[PlaceCondition]) -> None:
        """Compare the lists of the mask with mask_mod, as far as both are known."""
        summary = self._fixed(own, [])
        if summary is None:
            return
        known = all(condition.values is not None for condition in own)
        values = [self.writer.value(item, sizes=True) for item in self.call.lists]
        unknown = any(
            value is None and item is not None for value, item in zip(values, self.call.lists, strict=True)
        )
        if unknown and known:
            raise CaptureError(
                f"capture: {self.call.where}: expected a BlockMask whose block lists and mask_mod agree, got lists "
                "that are computed from inputs (compiled FlexAttention reads only the listed blocks) and a mask_mod "
                "that does not depend on them (eager FlexAttention reads no list). What to do: give "
                "BlockMask.from_kv_blocks a mask_mod that looks up which blocks are chosen"
            )
        if not unknown:
            full = None if values[2] is None else RowLists(values[2], values[3])
            check_lists(RowLists(values[0], values[1]), full, summary.summary, known, self.call.where)

    def _fixed(self, own: Sequence[PlaceCondition], further: Sequence[PlaceCondition]) -> FixedMask | None:
        """The mask by the conditions that are known; None if lengths are symbolic."""
        batches, heads, queries, keys = self.emit.sizes
        if not (is_static(queries) and is_static(keys)):
            return None
        count = int(batches) if is_static(batches) else 1
        size = MaskSize(count, int(heads), int(queries), int(keys), *self.emit.block_sizes)
        known = [[one for one in conditions if one.values is not None] for conditions in (own, further)]
        listed = (self.call.q_block, self.call.k_block)
        key = (*(tuple(one.key for one in conditions) for conditions in known), size, listed)
        if key not in self.writer.masks:
            # The conditions are kept with the mask: their key names tensors by their ids.
            self.writer.masks[key] = evaluate(known[0], known[1], size, listed), known
        found: FixedMask = self.writer.masks[key][0]
        return found

    def _sees(self, fixed: FixedMask | None, conditions: Sequence[PlaceCondition]) -> str:
        """``all``: every query sees every key; ``causal``: those up to it; empty: something else."""
        if fixed is None:
            causal = bool(conditions) and all(condition.is_causal for condition in conditions)
            return "causal" if causal else "" if conditions else "all"
        return "all" if fixed.is_full else "causal" if fixed.is_causal else ""

    def _lists(
        self,
        fixed: FixedMask | None,
        conditions: Sequence[PlaceCondition],
        computed: Sequence[PlaceCondition],
    ) -> tuple[Sequence[Any], str]:
        """The first six operands of block attention, and what to say of them."""
        if fixed is None:
            return self.emit.lists_of(conditions), "its mask is computed for the lengths of a call"
        share = fixed.program.kept(self.emit.sizes[2], self.emit.sizes[3])
        kept = f"{share:.0%} of the scores are computed, in blocks of {fixed.program.q_block}×{fixed.program.k_block}"
        if not computed:
            return self.emit.fixed_lists(fixed.program), kept
        if self._lists_are_known:
            return self.emit.listed(
                fixed.program, computed
            ), f"{kept}, whose patterns are computed from inputs"
        return self.emit.lists_of(conditions), "its mask is computed from inputs"

    @cached_property
    def _lists_are_known(self) -> bool:
        return all(item is None or self.writer.value(item) is not None for item in self.call.lists)

    def _bias(self) -> tuple[fx.Node | None, list[Mod]]:
        """What is added to the scores by distance, and the conditions under which it is not -inf."""
        terms = self.form.terms
        if not terms:
            return None, []
        _, heads, queries, keys = self.emit.sizes
        count = int(heads) if any("head" in mod.reads() for _, mod in terms) else 1
        known = [mod.known_buffers(self.writer.value) for _, mod in terms]
        if not is_static(queries) or not is_static(keys) or any(buffers is None for buffers in known):
            return self.emit.bias(terms, count), []
        pairs = [(*term, buffers or ()) for term, buffers in zip(terms, known, strict=True)]
        table = bias_of(pairs, count, queries, keys)
        if bool(torch.isfinite(table).all()):
            return self.emit.constant_bias(table), []
        finite = [mod.then(aten.isfinite.default) for _, mod in terms]
        return self.emit.constant_bias(table.masked_fill(table == float("-inf"), 0.0)), finite
