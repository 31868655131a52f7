"""Split weights of 8-bit integers so that 16 bits hold the sums of their products."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments
from l0compile.ir.program import Program

l0 = torch.ops.l0compile

# The sum of two weights of one sign that 16 bits hold times an activation: 255 * 128 < 2^15 < 255 * 129.
_LARGEST = 128
# Words that are stored twice, as a share of all: with more, products of 16-bit integers are as quick. They suit dense
# layers best.
_MOST, _MOST_DENSE = 0.5, 0.25
# Rows of the blocks that taller ones are cut into: of less tall ones fewer have a pair that does not fit.
_ROWS = 4


def split_words(program: Program) -> Program:
    """Split weights of 8-bit integers so that 16 bits hold the sums of the products of two neighbours.

    Rewrite: packed_int8_linear(x, W) -> packed_int8_linear(x, V and W - V, fits16=True), where V is W with each pair
        that may not fit made smaller; what is left of such a pair, W - V, is stored in one more block at the same
        place. Likewise packed_int8_conv2d. Blocks of more than four rows are cut into blocks of four rows and one word
        where something is left.
    Checks: weights are constants; no more than half of the words is stored twice, of a dense layer a quarter. Sums are
        the same integers.
    Returns: the program, itself when it has no such operator.
    """
    editor = Editor(program)
    rules = {l0.packed_int8_linear.default: _linear, l0.packed_int8_conv2d.default: _convolution}
    for node in list(editor.graph.nodes):
        if node.op == "call_function" and node.target in rules and not arguments(node)["fits16"]:
            stored = rules[node.target](editor, node)
            if stored is not None:
                args = tuple((arguments(node) | stored | {"fits16": True}).values())
                editor.replace(node, editor.call(node.target, args, before=node, origin=node))
    return editor.finish()


def fitting_blocks(
    data: Tensor, indices: Tensor | None, indptr: Tensor | None, n: int, words: int
) -> tuple[dict[str, Tensor], bool] | None:
    """The blocks of a layer in parts whose products fit.

    Args:
        data, indices, indptr: as ``packed_int8_linear`` has them.
        n: rows of the weight.
        words: words of a row.

    Returns:
        (the three of the parts, whether there are more of them than before); None where too many words would be stored
        twice.
    """
    cols, most = data.shape[1], _MOST
    if indices is None or indptr is None:
        row_blocks, most = len(data) // words, _MOST_DENSE
        indices, indptr = torch.arange(words).repeat(row_blocks), torch.arange(row_blocks + 1) * words
    columns = indices.long()[:, None] * cols + torch.arange(cols)
    row = torch.repeat_interleave(indptr.diff().long())
    entries = _WordEntries(data.flatten(0, 1), row.repeat_interleave(cols), columns.flatten())
    entries = entries.chosen(entries.place < words)  # past k there are zeros
    return entries.cut(n).stored_in_parts(n, "indices", most)


def _linear(editor: Editor, node: fx.Node) -> dict[str, Any] | None:
    """The arguments that change; None where too many words would be stored twice."""
    given = arguments(node)
    data, words = editor.value(given["data"]), int(given["x"].meta["val"].shape[1])
    if data is None:
        return None
    indices, indptr = (editor.value(given[name]) for name in ("indices", "indptr"))
    return _constants(editor, node, fitting_blocks(data, indices, indptr, given["n"], words))


def _convolution(editor: Editor, node: fx.Node) -> dict[str, Any] | None:
    """As ``_linear``, with the place of each word in the image for its column."""
    given = arguments(node)
    data, offsets, indptr = (editor.value(given[name]) for name in ("data", "offsets", "indptr"))
    if data is None or offsets is None:
        return None
    if indptr is None:
        row_blocks = len(data) // len(offsets)
        offsets, indptr = offsets.repeat(row_blocks), torch.arange(row_blocks + 1) * len(offsets)
    row = torch.repeat_interleave(indptr.diff().long())
    entries = _WordEntries(data[:, 0], row, offsets.long()).cut(given["n"])
    return _constants(editor, node, entries.stored_in_parts(given["n"], "offsets", _MOST))


def _constants(
    editor: Editor, node: fx.Node, parts: tuple[dict[str, Tensor], bool] | None
) -> dict[str, Any] | None:
    if parts is None or not parts[1]:
        return None if parts is None else {}
    stem = arguments(node)["data"].target
    return {
        name: editor.add_constant(f"{stem}_split_{name}", value, node) for name, value in parts[0].items()
    }


@dataclass(frozen=True)
class _WordEntries:
    """Blocks of one word: ``words`` [m, rows] int32, the block ``row`` [m], ascending, and the ``place`` in it."""

    words: Tensor
    row: Tensor
    place: Tensor

    def chosen(self, which: Tensor) -> "_WordEntries":
        return _WordEntries(self.words[which], self.row[which], self.place[which])

    def cut(self, n: int) -> "_WordEntries":
        """Blocks of ``_ROWS`` rows, of a weight of n rows."""
        rows = self.words.shape[1]
        if rows <= _ROWS or rows % _ROWS:
            return self
        parts = rows // _ROWS
        row = (self.row[:, None] * parts + torch.arange(parts)).flatten()
        cut = _WordEntries(self.words.reshape(-1, _ROWS), row, self.place.repeat_interleave(parts))
        cut = cut.chosen(row.argsort(stable=True))
        return cut.chosen(cut.row < -(-n // _ROWS))

    def stored_in_parts(self, n: int, places: str, most: float) -> tuple[dict[str, Tensor], bool] | None:
        """(data, the places by this name and indptr of a weight of n rows, whether there are more words)."""
        split = self.split(most)
        if split is None:
            return None
        parts, more = split
        begins = torch.arange(-(-n // parts.words.shape[1]) + 1)
        indptr = torch.searchsorted(parts.row, begins, out_int32=True)
        data = parts.words[:, None].contiguous()
        return {"data": data, places: parts.place.to(torch.int32), "indptr": indptr}, more

    def split(self, most: float) -> "tuple[_WordEntries, bool] | None":
        """The words in parts that fit, and whether there are more of them; None where that is more than ``most``."""
        whole = self.words.contiguous().view(torch.int8).reshape(*self.words.shape, 2, 2).short()
        size = whole.abs()
        # Of one sign and too large together; then the larger one holds all that is too much.
        over = (size.sum(-1) - _LARGEST).clamp(min=0) * (whole.sign().prod(-1) > 0)
        larger = torch.stack((size[..., 0] >= size[..., 1], size[..., 0] < size[..., 1]), -1)
        rest = whole.sign() * over[..., None] * larger
        left = rest.flatten(1).any(1)
        if left.double().mean() > most:
            return None
        if not left.any():
            return self, False
        both = torch.cat((whole - rest, rest[left])).to(torch.int8).reshape(-1, self.words.shape[1], 4)
        order = torch.cat((torch.arange(len(left)), left.nonzero()[:, 0])).argsort(stable=True)
        words = both.view(torch.int32)[..., 0]
        parts = _WordEntries(
            words, torch.cat((self.row, self.row[left])), torch.cat((self.place, self.place[left]))
        )
        return parts.chosen(order), True
