"""Values of a bfloat16 model in float32, rounded where PyTorch rounds them, for the kernels of a CPU."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from l0compile.hardware.targets import Target
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, follower, is_float, is_op, shape, tensor
from l0compile.ir.operator_facts import OperatorFacts, facts_of
from l0compile.ir.program import Program
from l0compile.ir.records import Region
from l0compile.rewrite.fuse.fuse_attention import refusal
from l0compile.rewrite.linear_layers import linear_weight
from l0compile.rewrite.regions import ATTENTION

aten, l0 = torch.ops.aten, torch.ops.l0compile

_SDPA = aten.scaled_dot_product_attention.default
# Computed in float32 by PyTorch too, and rounded once.
_ROUNDED = (
    aten.linear.default, aten.layer_norm.default, aten.group_norm.default, aten.batch_norm.default,
    aten.softmax.int, aten._softmax.default, aten.log_softmax.int, aten._log_softmax.default,
    aten.matmul.default, aten.bmm.default, aten.mm.default, aten.addmm.default, aten.baddbmm.default,
    aten.sum.dim_IntList, aten.mean.dim, aten.sum.default, aten.mean.default, aten.prelu.default,
    aten.constant_pad_nd.default,
)  # fmt: skip
# The result is made of elements of the operands.
_EXACT = (
    aten.cat.default, aten.stack.default, aten.relu.default, aten.neg.default, aten.abs.default, aten.where.self,
    aten.maximum.default, aten.minimum.default, aten.amax.default, aten.amin.default,
)  # fmt: skip
_MOVES = ("reshape", "permute", "part", "repeat", "pick")
_CASTS = (aten._to_copy.default, aten.to.dtype)


def widen_bfloat16(program: Program, target: Target) -> Program:
    """Compute what is in bfloat16 in float32, with products of bfloat16 numbers and roundings where they were.

    Rewrite: f(x) in bfloat16 -> round_bfloat16(f(x)) on float32, for elementwise operators, norms, sums, products and
        what moves elements; linear(x, W, b) -> round_bfloat16(bfloat16_linear(x, W, b)), and attention likewise, where
        the target multiplies bfloat16 numbers. Casts to float32 go.
    Checks: the target is a CPU; PyTorch computes f in float32 and rounds its result once, too. Whatever else is in
        bfloat16 stays so, between casts. A product of two such numbers is exact in float32.

    Args:
        program: compacted.
        target: whose instructions decide what multiplies.

    Returns:
        The program; itself for a GPU, and when nothing is in bfloat16.
    """
    if target.kind == "cuda" or not has_bfloat16(program):
        return program
    widening = _Widening(Editor(program), target.multiplies("bfloat16"))
    for node in list(widening.editor.graph.nodes):
        widening.visit(node)
    return _told(widening.finished(), widening.regions)


def has_bfloat16(program: Program) -> bool:
    """Whether a value of the program is in bfloat16."""
    return any(_narrow(node) for node in program.graph.nodes)


class _Widening:
    """The values that exist in float32: of a node in bfloat16, its numbers.

    Attributes:
        regions: name -> whether its products are of bfloat16 numbers.
    """

    def __init__(self, editor: Editor, products: bool) -> None:
        self.editor, self.products = editor, products
        self.widened: dict[fx.Node, fx.Node] = {}
        self.made: dict[fx.Node, fx.Node] = {}
        self.regions: dict[str, bool] = {}

    def visit(self, node: fx.Node) -> None:
        if node.op != "call_function":
            return
        if not _narrow(node) and not any(map(_narrow, node.all_input_nodes)):
            return
        if is_op(node, aten.sym_size.int):
            if node.args[0] in self.widened:
                self.editor.replace(node, self._copy(node, self.widened))
            return
        rule = self._rule(node)
        result = rule(node) if rule is not None else None
        if result is None:
            return
        self.editor.changed += 1
        if _narrow(node) or tensor(node) is None:
            self.widened[node] = result
        else:
            self.editor.replace(node, result)

    def finished(self) -> Program:
        """The program, in which what stayed in bfloat16 reads what was widened through a cast."""
        for node, wide in self.widened.items():
            readers = [user for user in node.users if user not in self.widened]
            if readers and _narrow(node):
                narrow = self._call(_CASTS[0], (wide,), follower(wide), node, {"dtype": torch.bfloat16})
                narrow.meta["val"] = node.meta["val"]
                for reader in readers:
                    reader.replace_input_with(node, narrow)
        return self.editor.finish()

    def _rule(self, node: fx.Node) -> Callable[[fx.Node], fx.Node | None] | None:
        facts = facts_of(node)
        if is_op(node, *_CASTS):
            return self._cast
        if is_op(node, aten.linear.default):
            return self._linear
        if is_op(node, _SDPA):
            return self._attention
        if is_op(node, aten.embedding.default):
            return self._embedding
        if node.target is operator.getitem:
            return self._part if node.args[0] in self.widened else None
        if is_op(node, *_EXACT) or facts.moves in _MOVES or facts.copies or facts.splits:
            return self._exact
        return self._rounded if _computed(node, facts) else None

    def _exact(self, node: fx.Node) -> fx.Node | None:
        wider = any(is_float(operand) and not _narrow(operand) for operand in node.all_input_nodes)
        return self._rounded(node) if wider else self._same(node)

    def _rounded(self, node: fx.Node) -> fx.Node | None:
        return self._round(self._same(node), node)

    def _part(self, node: fx.Node) -> fx.Node | None:
        return self._call(node.target, (self.widened[node.args[0]], node.args[1]), node, node)

    def _cast(self, node: fx.Node) -> fx.Node | None:
        source = node.args[0]
        before, after = tensor(source), tensor(node)
        if not isinstance(source, fx.Node) or before is None or after is None:
            return None
        if before.dtype == torch.bfloat16:
            wide = self.wide(source, node)
            if after.dtype in (torch.bfloat16, torch.float32):
                return wide
            return self._call(_CASTS[0], (wide,), node, node, {"dtype": after.dtype})
        if before.dtype != torch.float32:
            source = self._call(_CASTS[0], (source,), node, node, {"dtype": torch.float32})
        return self._round(source, node)

    def _linear(self, node: fx.Node) -> fx.Node | None:
        found, region = linear_weight(self.editor, node), str(node.meta.get("region", ""))
        if not _narrow(node) or found is None:
            return self._rounded(node)
        self.regions[region] = self.products
        if not self.products:
            return self._rounded(node)
        given = arguments(node)
        bias = None if given["bias"] is None else self.wide(given["bias"], node)
        args = (self.wide(given["input"], node), given["weight"], bias)
        return self._round(self._call(l0.bfloat16_linear.default, args, node, node), node)

    def _attention(self, node: fx.Node) -> fx.Node | None:
        made = self._same(node)
        if made is not None and refusal(made) is None:
            widths = [shape(arguments(node)[name])[-1] for name in ("query", "value")]
            # A word holds two features.
            pairs = self.products and all(width % 2 == 0 for width in widths)
            self.regions[str(node.meta.get("region", ""))] = pairs
            made.target = l0.bfloat16_attention.default if pairs else made.target
        return self._round(made, node)

    def _embedding(self, node: fx.Node) -> fx.Node | None:
        """Rows stay in bfloat16 in memory."""
        return self._call(_CASTS[0], (self._copy(node, {}),), node, node, {"dtype": torch.float32})

    def _same(self, node: fx.Node) -> fx.Node | None:
        """The operator on float32; None where it asks for another type itself."""
        if node.kwargs.get("dtype") == torch.bfloat16 or torch.bfloat16 in node.args:
            return None
        wide = {operand: self.wide(operand, node) for operand in node.all_input_nodes if _narrow(operand)}
        return self._copy(node, wide)

    def _copy(self, node: fx.Node, by: dict[fx.Node, fx.Node]) -> fx.Node:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda operand: by.get(operand, operand))
        made = self._call(node.target, args, node, node, kwargs)
        made.meta["val"] = _in_float32(node) if by else node.meta.get("val")
        return made

    def _round(self, made: fx.Node | None, node: fx.Node) -> fx.Node | None:
        if made is None or not _narrow(node):
            return made
        return self._call(l0.round_bfloat16.default, (made,), node, node)

    def wide(self, node: fx.Node, before: fx.Node) -> fx.Node:
        """The value of a node in bfloat16, in float32."""
        if node in self.widened:
            return self.widened[node]
        if node not in self.made:
            constant, anchor = self.editor.value(node), follower(node)
            if constant is not None:
                self.made[node] = self.editor.add_constant(f"{node.target}_wide", constant.float(), anchor)
            else:
                self.made[node] = self._call(_CASTS[0], (node,), anchor, node, {"dtype": torch.float32})
        return self.made[node]

    def _call(self, target: Any, args: Any, before: fx.Node, like: fx.Node, kwargs: Any = None) -> fx.Node:
        """An operator whose result is that of ``like``, in float32."""
        made = self.editor.call(target, args, before=before, origin=like, kwargs=kwargs)
        made.meta["val"] = _in_float32(like)
        return made


def _computed(node: fx.Node, facts: OperatorFacts) -> bool:
    """Whether PyTorch computes it in float32 and rounds once."""
    if is_op(node, aten.rms_norm.default):
        # Without a number of its own it is that of the type; and PyTorch rounds before it multiplies.
        return arguments(node)["eps"] is not None and arguments(node)["weight"] is None
    return is_op(node, *_ROUNDED) or bool(facts.window) or (facts.elementwise > 0 and facts.fills is None)


def _narrow(node: Any) -> bool:
    value = tensor(node)
    return value is not None and value.dtype == torch.bfloat16


def _in_float32(node: fx.Node) -> Any:
    value = node.meta.get("val")
    narrow = isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
    return value.to(torch.float32) if narrow else value


def _told(program: Program, products: Mapping[str, bool]) -> Program:
    """The program whose regions say what multiplies their bfloat16 numbers."""
    regions = tuple(
        _region(region, products[region.name]) if region.name in products else region
        for region in program.regions
    )
    return program if regions == program.regions else replace(program, regions=regions)


def _region(region: Region, products: bool) -> Region:
    # What was noted of attention before is that it is not in float32.
    reason = "" if region.kind == ATTENTION else region.reason
    if products:
        return replace(region, reason=reason, precision="bfloat16")
    text = "bfloat16 numbers in float32: the target has no instruction for their products"
    return replace(region, reason="; ".join(filter(None, (reason, text))))
