"""Leave rows as they are around linear layers that alone would pack and unpack them."""

from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, same_shape, shape
from l0compile.ir.ops.bsr import dense_blocks, from_dense_blocks
from l0compile.ir.program import Program

aten, l0 = torch.ops.aten, torch.ops.l0compile

# Rows of a dense weight side by side: two registers of a CPU with many of them, as many as a tile where they are few.
_LEAST_OUTPUTS = 16


def keep_rows(program: Program, lanes: int) -> Program:
    """Compute linear layers on rows where packing would serve them alone, or tokens are few.

    Rewrite: unpack(packed_linear(pack(x))) -> rows_linear(x), or rows_bsr_linear(x) of a block-sparse weight; a dense
        layer whose tokens fill no tile also where its packed result has other readers, which then get
        pack(rows_linear(x)).
    Checks: float32, constant weights, no residual. A block-sparse layer has more tokens than a quarter of a tile, known
        before the call; for fewer there are better kernels of packed tokens.

    Args:
        program: packed, with epilogues fused.
        lanes: tokens of a tile.

    Returns:
        The program, itself when no layer is alone.
    """
    pass_ = _RowsLayout(Editor(program), lanes)
    for node in list(pass_.editor.graph.nodes):
        if is_op(node, l0.packed_linear.default):
            pass_.visit(node)
    return pass_.editor.finish()


class _RowsLayout:
    """The editor, and what layers share."""

    def __init__(self, editor: Editor, lanes: int) -> None:
        self.editor, self.lanes = editor, lanes
        self.weights: dict[str, fx.Node] = {}  # dense weights in rows' blocks; tied layers share theirs

    def visit(self, node: fx.Node) -> None:
        given = arguments(node)
        packed, tokens = given["x"], given["tokens"]
        if not is_op(packed, l0.pack.default) or given["residual"] is not None:
            return
        alone = all(is_op(user, l0.unpack.default) for user in node.users)
        known = tokens if isinstance(tokens, int) else None
        x = packed.args[0]
        if given["indices"] is None:
            rows = self._dense(node, x, given) if alone or (known and known < self.lanes) else None
        else:
            rows = self._sparse(node, x, given) if alone and known and 4 * known > self.lanes else None
        if rows is not None:
            self._replace(node, rows)

    def _dense(self, node: fx.Node, x: fx.Node, given: dict[str, Any]) -> fx.Node | None:
        n, name = given["n"], str(given["data"].target)
        data = self.editor.value(given["data"])
        if data is None:
            return None
        if name not in self.weights:
            blocks = dense_blocks(
                from_dense_blocks(data, n, shape(x)[-1]), max(_LEAST_OUTPUTS, self.lanes // 2)
            )
            self.weights[name] = self.editor.add_constant(f"{name}_rows", blocks, node)
        args = (x, self.weights[name], given["bias"], n, given["activation"])
        return self.editor.call(l0.rows_linear.default, args, before=node)

    def _sparse(self, node: fx.Node, x: fx.Node, given: dict[str, Any]) -> fx.Node:
        weight = (given["data"], given["indices"], given["indptr"])
        args = (x, *weight, None, given["bias"], None, given["n"], given["activation"])
        return self.editor.call(l0.rows_bsr_linear.default, args, before=node)

    def _replace(self, node: fx.Node, rows: fx.Node) -> None:
        """Let readers of the packed result ``node`` read ``rows``."""
        x = rows.args[0].meta["val"]
        value = rows.meta["val"] = x.new_empty(*x.shape[:-1], rows.args[-2])
        for user in [user for user in node.users if is_op(user, l0.unpack.default)]:
            same = same_shape(value.shape, shape(user))
            sizes = [*user.args[1], value.shape[-1]]
            self.editor.replace(
                user, rows if same else self.editor.call(aten.reshape.default, (rows, sizes), before=user)
            )
        if node.users:
            self.editor.replace(node, self.editor.call(l0.pack.default, (rows, self.lanes), before=node))
