"""Turn a linear layer whose result is cut along its features into one layer for each piece."""

import operator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op, is_static, slice_bounds
from l0compile.ir.operator_facts import facts_of
from l0compile.ir.program import Program
from l0compile.rewrite.linear_layers import linear_weight
from l0compile.rewrite.normalize.linear_views import ResultAxis, ResultView, view_of

aten = torch.ops.aten

# A kernel computes this many rows at once: pieces of fewer would cost more than the cut saves.
_LEAST_ROWS = 4


def split_linear(program: Program) -> Program:
    """Turn a linear layer whose result is cut along its features into one layer for each piece.

    Rewrite: split(linear(x, W, b)) -> linear(x, W_0, b_0), linear(x, W_1, b_1), ..., where W_i and b_i are the rows of
        piece i. The pieces may be cut by split, chunk, unbind, select or slice, along the
        features or along one axis that a reshape made of them, with axes swapped, added or removed in between (fused
        query, key and value projections).
    Checks: weight and bias are constants; everything that reads the result is such a piece, and together they are no
        more than the layer's features; feature axes have known sizes; no piece is narrower than four features.
    Returns: the program, itself when no layer is cut. From then on each piece is a layer with its own zeros.
    """
    editor = Editor(program)
    for node in list(editor.graph.nodes):
        found = linear_weight(editor, node)
        if found is None:
            continue
        view = view_of(node)
        pieces = view and _pieces(view)
        if view is not None and pieces:
            for piece in pieces:
                _replace(editor, node, view, piece)
    return editor.finish()


@dataclass(frozen=True)
class _ResultPiece:
    """A part of a view along one axis of the features.

    Attributes:
        node: the node that holds it.
        axis: the axis of the features that is cut.
        start: first entry.
        length: number of entries.
        removes: whether one entry is picked, so that the axis is gone.
    """

    node: fx.Node
    axis: int
    start: int
    length: int
    removes: bool


def _pieces(view: ResultView) -> list[_ResultPiece] | None:
    """The pieces that the readers of a view pick; None when one of them reads it in another way."""
    pieces: list[_ResultPiece] = []
    for user in view.last.users:
        found = _picked(user, view)
        if found is None:
            return None
        pieces += found
    if not pieces or (len(pieces) == 1 and pieces[0].length == view.grid[pieces[0].axis]):
        return None
    rows = [piece.length * prod(view.grid) // view.grid[piece.axis] for piece in pieces]
    return pieces if min(rows) >= _LEAST_ROWS and sum(rows) <= prod(view.grid) else None


def _picked(user: fx.Node, view: ResultView) -> list[_ResultPiece] | None:
    cuts = facts_of(user).splits or is_op(user, aten.unbind.int, aten.select.int, aten.slice.Tensor)
    if not cuts or user.args[0] is not view.last:
        return None
    given = arguments(user)
    kind, axis = view.axes[given["dim"] % len(view.axes)]
    if kind != "feature":
        return None
    size = view.grid[axis]
    if is_op(user, aten.select.int):
        index = given["index"]
        return [_ResultPiece(user, axis, index % size, 1, True)] if isinstance(index, int) else None
    if is_op(user, aten.slice.Tensor):
        bounds = slice_bounds(user)
        if bounds is None or bounds[3] != 1 or bounds[2] <= bounds[1]:
            return None
        return [_ResultPiece(user, axis, bounds[1], bounds[2] - bounds[1], False)]
    return _results(user, axis)


def _results(user: fx.Node, axis: int) -> list[_ResultPiece] | None:
    """The pieces of an operator with a list of results, all along feature axis ``axis``."""
    removes = is_op(user, aten.unbind.int)
    values = user.meta["val"]
    dim = arguments(user)["dim"]
    lengths = [1 if removes else value.shape[dim] for value in values]
    if not all(is_static(length) and length > 0 for length in lengths):
        return None
    pieces = []
    for reader in user.users:
        if reader.target is not operator.getitem or not isinstance(reader.args[1], int):
            return None
        index = reader.args[1] % len(lengths)
        pieces.append(_ResultPiece(reader, axis, sum(lengths[:index]), lengths[index], removes))
    return pieces


def _replace(editor: Editor, node: fx.Node, view: ResultView, piece: _ResultPiece) -> None:
    """Give the readers of a piece its own layer, and the axes they expect."""
    given = arguments(node)
    found = linear_weight(editor, node)
    assert found is not None
    weight, bias = found
    every = torch.arange(prod(view.grid)).reshape(view.grid)
    rows = every.narrow(piece.axis, piece.start, piece.length).reshape(-1)
    before = piece.node
    name = str(given["weight"].target)
    weight_node = editor.add_constant(name, weight[rows], before)
    bias_node = None if bias is None else editor.add_constant(str(given["bias"].target), bias[rows], before)
    result = editor.call(
        aten.linear.default, (given["input"], weight_node, bias_node), before=before, origin=node
    )
    grid = list(view.grid)
    grid[piece.axis : piece.axis + 1] = [] if piece.removes else [piece.length]
    if view.reshape is not None:
        result = _reshaped(editor, view, result, grid or [1], before)
        if not grid:
            result = editor.call(aten.squeeze.dim, (result, -1), before=before)
    elif not grid:
        result = editor.call(aten.squeeze.dim, (result, -1), before=before)
    editor.replace(piece.node, _arranged(editor, view, piece, result, before))


def _reshaped(editor: Editor, view: ResultView, value: fx.Node, grid: list[int], before: fx.Node) -> fx.Node:
    """Reshape as the view does, with the features in ``grid``."""
    assert view.reshape is not None
    if is_op(view.reshape, aten.unflatten.int):
        return editor.call(aten.unflatten.int, (value, -1, grid), before=before)
    sizes: Any = view.reshape.args[1]
    return editor.call(aten.reshape.default, (value, [*sizes[: view.tokens], *grid]), before=before)


def _arranged(
    editor: Editor, view: ResultView, piece: _ResultPiece, value: fx.Node, before: fx.Node
) -> fx.Node:
    """Bring [tokens..., features...] into the order of the view's axes."""
    have: list[ResultAxis] = [("token", i) for i in range(view.tokens)]
    have += [("feature", j) for j in range(len(view.grid)) if not (piece.removes and j == piece.axis)]
    wanted = [axis for axis in view.axes if not (piece.removes and axis == ("feature", piece.axis))]
    order = [have.index(axis) for axis in wanted if axis[0] != "one"]
    if order != sorted(order):
        value = editor.call(aten.permute.default, (value, order), before=before)
    for position, axis in enumerate(wanted):
        if axis[0] == "one":
            value = editor.call(aten.unsqueeze.default, (value, position), before=before)
    return value
