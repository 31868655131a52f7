"""Attention to listed keys that is quicker, or the same, as attention to all of them."""

import torch
from torch import fx

from l0compile.hardware.costs import Costs, lists_pay
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.ir.program import Program
from l0compile.rewrite.formats.lists_of_attention import constant_program, listed_shares, workload_of

_LISTED = torch.ops.l0compile.block_attention.default
# The largest dense mask, in elements: a kernel reads four bytes of each.
_MOST = 1 << 26


def dense_attention(program: Program, costs: Costs | None = None) -> Program:
    """Attend to all keys, under a mask, where that is quicker than to walk lists.

    Rewrite: block_attention(q, k, v, lists, mask) -> attention(q, k, v, mask and what the lists show), without the
        latter where they show everything.
    Checks: the lists are constants and the lengths numbers; no bias or log_sum_exp; the lists show every key
        to every query, or ``costs`` say that all keys are quicker and the dense mask is of 2^26 elements or fewer.

    Args:
        program: whose lists are constants.
        costs: what kernels take on the target; None where nothing is known.

    Returns:
        The program, itself where lists are quicker everywhere.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if is_op(node, _LISTED):
            given = arguments(node)
            lists = constant_program(editor, node)
            plain = given["bias"] is None and not given["log_sum_exp"]
            if lists is not None and plain:
                _attend_to_all(editor, node, lists, costs)
    return editor.finish()


def _attend_to_all(editor: Editor, node: fx.Node, lists: RowProgram, costs: Costs | None) -> None:
    given, (_, queries, _), (_, keys, _) = arguments(node), shape(node), shape(arguments(node)["k"])
    shares = listed_shares(lists, given["heads"], keys)
    everything = min(shares) >= 1.0 and lists.columns is None and bool(lists.to_mask(queries, keys).all())
    mask = given["mask"]
    if not everything:
        density = sum(shares) / len(shares)
        if costs is None or lists_pay(costs, workload_of(node, density)):
            return
        seen = lists.to_mask(queries, keys)
        if seen.numel() > _MOST or (mask is not None and mask.meta["val"].dtype != torch.bool):
            return
        shown = editor.add_constant(f"{node.name}_seen", seen.contiguous(), node)
        mask = shown if mask is None else editor.call(
            torch.ops.aten.logical_and.default, (shown, mask), before=node
        )  # fmt: skip
    args = (
        given["q"], given["k"], given["v"], mask, given["heads"], given["scale"], None, None, given["numbers"],
        given["softcap"],
    )  # fmt: skip
    made = editor.call(torch.ops.l0compile.attention.default, args, before=node, origin=node)
    editor.replace(node, made)
