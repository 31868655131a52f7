"""Write ``embedding_bag`` as an operator with one result."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, shape
from l0compile.ir.program import Program

aten = torch.ops.aten
_SUM, _MEAN = 0, 1
_OPERATORS = (
    aten.embedding_bag.default, aten.embedding_bag.padding_idx, aten._embedding_bag.default,
    aten._embedding_bag_forward_only.default,
)  # fmt: skip


def single_bags(program: Program) -> Program:
    """Write ``embedding_bag`` as an operator with one result, which analyses can follow.

    Rewrite: embedding_bag(x, indices, starts, mode, weights)[0] -> l0compile::bag(x, indices, starts, weights, mean).
    Checks: a sum or a mean; no row counts as padding; ``starts`` has one entry for each bag; only the first result is
        read; a mean has no weights.
    Returns: the program, itself when it has no such operator.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        if not is_op(node, *_OPERATORS):
            continue
        given = arguments(node)
        weights, mean = given["per_sample_weights"], given["mode"] == _MEAN
        if given["mode"] not in (_SUM, _MEAN) or _pads(given) or given["include_last_offset"]:
            continue
        if (mean and weights is not None) or not all(map(_reads_first, node.users)):
            continue
        if len(shape(given["indices"])) != 1 or len(shape(given["weight"])) != 2:
            continue
        args = (given["weight"], given["indices"], given["offsets"], weights, mean)
        for reader in list(node.users):
            editor.replace(
                reader, editor.call(torch.ops.l0compile.bag.default, args, before=node, origin=node)
            )
    return editor.finish()


def _pads(given: Mapping[str, Any]) -> bool:
    padding = given.get("padding_idx")
    return padding is not None and padding != -1


def _reads_first(user: fx.Node) -> bool:
    return user.target is operator.getitem and user.args[1] == 0
