"""What a mask of positions hides, taken out of the lists of an attention instead."""

import torch
from torch import fx

from l0compile.analysis.band import Band
from l0compile.analysis.band_reader import BandReader
from l0compile.analysis.index_facts import index_facts
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, shape
from l0compile.ir.ops.attention.multi_head import window_mask
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.ir.program import Program
from l0compile.rewrite.formats.lists_of_attention import OPERANDS, constant_program
from l0compile.rewrite.fuse.window_masks import Windowed, without_window

_LISTED = torch.ops.l0compile.block_attention.default
# The largest mask of lists that is looked at, in elements.
_MOST = 1 << 26


def masks_beside_lists(program: Program) -> Program:
    """Take what a mask of positions hides out of the lists, so that one mask of keys is left, or none.

    Rewrite: block_attention(q, k, v, lists, and(band, keys)) -> block_attention(q, k, v, lists in the band, keys),
        where ``band`` is a mask of the distance from query to key, such as "no later key"; likewise of masks that are
        added.
    Checks: the lists are constants and the lengths numbers; what is left of the mask is the same for all queries, as
        kernels need it.

    Args:
        program: with fused attention.

    Returns:
        The program, itself where no mask beside lists differs from query to query.
    """
    editor = Editor(program)
    nodes = [
        node for node in editor.graph.nodes if is_op(node, _LISTED) and _by_query(arguments(node)["mask"])
    ]
    if not nodes:
        return program
    facts = {node.name: fact for node, fact in index_facts(program).items()}
    for node in nodes:
        given = arguments(node)
        lists = constant_program(editor, node)
        queries, keys = (shape(given[name])[1] for name in "qk")
        if lists is None or given["heads"] * queries * keys > _MOST:
            continue
        reader = BandReader(facts, editor.value, queries, keys, {})
        sees = without_window(editor, given["mask"], Band(), node, reader, exact=False)
        if sees.mask is None or ("val" in sees.mask.meta and not _by_query(sees.mask)):
            _rewrite(editor, node, _within(lists, sees, queries, keys), sees.mask)
    return editor.finish()


def _by_query(mask: fx.Node | None) -> bool:
    """Whether a mask may hide a key from one query and not from another."""
    if mask is None:
        return False
    sizes = shape(mask)
    return len(sizes) > 1 and not (is_static(sizes[-2]) and sizes[-2] == 1)


def _within(lists: RowProgram, sees: Windowed, queries: int, keys: int) -> RowProgram:
    """The lists without the keys outside of the window."""
    window = window_mask(queries, keys, *sees.limits)
    if window is None:
        return lists
    shown = lists.to_mask(queries, keys)
    inside = shown & window
    return lists if torch.equal(shown, inside) else RowProgram.from_mask(inside, lists.q_block, lists.k_block)


def _rewrite(editor: Editor, node: fx.Node, lists: RowProgram, mask: fx.Node | None) -> None:
    given = arguments(node)
    for name, value in zip(OPERANDS, lists.operands(), strict=True):
        known = given[name]
        if value is None:
            given[name] = None
        elif known is None or editor.value(known) is not value:
            given[name] = editor.add_constant(f"{node.name}_{name}", value, node)
    given["mask"] = mask
    editor.replace(node, editor.call(_LISTED, tuple(given.values()), before=node, origin=node))
