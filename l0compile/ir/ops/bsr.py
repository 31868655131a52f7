"""Linear layers on rows with weights in blocks: in their nonzero ones, as ``l0compile::bsr_linear``, or in all."""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.activation import activate


@torch.library.custom_op("l0compile::bsr_linear", mutates_args=())
def bsr_linear(
    x: Tensor, data: Tensor, indices: Tensor, indptr: Tensor, bias: Tensor | None, n: int, k: int
) -> Tensor:
    """x [..., k] -> [..., n] with W [n, k] in blocks of ``rows`` x ``cols``.

    Args:
        x: [..., k].
        data: [nnz, cols, rows], dtype of ``x``: ``data[p, c, r] = W[j * rows + r, indices[p] * cols + c]`` for the
            block row ``j`` with ``indptr[j] <= p < indptr[j + 1]``. Blocks are stored transposed because the kernels
            hold ``rows`` results at once. Rows past ``n`` and columns past ``k`` are zero.
        indices: [nnz] int32, block column of each block, ascending within a block row.
        indptr: [ceil(n / rows) + 1] int32, non-decreasing, from 0 to nnz.
        bias: [n] or None.
        n, k: shape of the weight.

    Returns:
        [..., n], dtype of ``x``. Absent blocks do not propagate NaN or infinity (0 * inf).

    Raises:
        InputError: ``x`` is not k wide, or ``indptr`` does not fit n.
    """
    _check(x, data, indptr, n, k)
    return F.linear(x, from_blocks(data, indices, indptr, n, k), bias)


@bsr_linear.register_fake
def _(
    x: Tensor, data: Tensor, indices: Tensor, indptr: Tensor, bias: Tensor | None, n: int, k: int
) -> Tensor:
    _check(x, data, indptr, n, k)
    return x.new_empty(*x.shape[:-1], n)


@torch.library.custom_op("l0compile::rows_linear", mutates_args=())
def rows_linear(x: Tensor, data: Tensor, bias: Tensor | None, n: int, activation: str) -> Tensor:
    """activation(W x + bias): x [..., k] -> [..., n]; ``data`` is W [n, k] in ``dense_blocks``."""
    y = F.linear(x, from_dense_blocks(data, n, x.shape[-1]), bias)
    return activate(y, activation)


@rows_linear.register_fake
def _(x: Tensor, data: Tensor, bias: Tensor | None, n: int, activation: str) -> Tensor:
    return x.new_empty(*x.shape[:-1], n)


@torch.library.custom_op("l0compile::rows_bsr_linear", mutates_args=())
def rows_bsr_linear(
    x: Tensor,
    data: Tensor,
    indices: Tensor,
    indptr: Tensor,
    order: Tensor | None,
    bias: Tensor | None,
    residual: Tensor | None,
    n: int,
    activation: str,
) -> Tensor:
    """activation(W x + bias) + residual: x [..., k] -> [..., n] with W [n, k] in blocks.

    Args:
        x, data, indices, indptr, bias, n: as ``l0compile::bsr_linear`` has them.
        order: int32 [block rows], in which order GPUs begin them, as :func:`heaviest_first` makes it; it does not
            change the result. None: as they lie.
        residual: [..., n] or None.
        activation: a name of :mod:`l0compile.ir.ops.activation`.
    """
    y = activate(bsr_linear(x, data, indices, indptr, bias, n, x.shape[-1]), activation)
    return y if residual is None else y + residual


@rows_bsr_linear.register_fake
def _(x, data, indices, indptr, order, bias, residual, n, activation):  # type: ignore[no-untyped-def]
    return x.new_empty(*x.shape[:-1], n)


def heaviest_first(indptr: Tensor) -> Tensor:
    """int32 [block rows]: the block rows from the one with most blocks to the one with fewest."""
    return indptr.diff().argsort(descending=True, stable=True).to(torch.int32)


def _check(x: Tensor, data: Tensor, indptr: Tensor, n: int, k: int) -> None:
    if data.ndim != 3:
        raise InputError(
            f"l0compile::bsr_linear: expected data [blocks, cols, rows], got shape {tuple(data.shape)}"
        )
    if x.shape[-1] != k:
        raise InputError(f"l0compile::bsr_linear: expected x of {k} features, got {tuple(x.shape)}")
    rows = data.shape[2]
    if indptr.shape[0] != -(-n // rows) + 1:
        raise InputError(
            f"l0compile::bsr_linear: expected indptr of {-(-n // rows) + 1} entries for n={n} in blocks of "
            f"{rows} rows, got {indptr.shape[0]}"
        )


def nonzero_blocks(weight: Tensor, rows: int, cols: int) -> Tensor:
    """bool [ceil(n / rows), ceil(k / cols)]: the blocks of a weight [n, k] with a nonzero element."""
    grid = _grid(weight if weight.dtype == torch.bool else weight != 0, rows, 1)
    # By slices of bytes: PyTorch reduces bool over a short axis ten times more slowly.
    whole = grid.squeeze(3).view(torch.uint8)
    by_rows = functools.reduce(torch.bitwise_or, (whole[:, row] for row in range(rows)))
    return _any_of_columns(by_rows, cols).view(torch.bool)


def _any_of_columns(found: Tensor, cols: int) -> Tensor:
    """uint8 [rows, k] of 0 and 1 -> uint8 [rows, ceil(k / cols)]: whether one of ``cols`` neighbours is 1."""
    found = F.pad(found, (0, -found.shape[1] % cols)).contiguous()
    for word in (torch.int64, torch.int32, torch.int16):  # as one number, several are compared at once
        while cols % word.itemsize == 0:
            found, cols = (found.view(word) != 0).view(torch.uint8), cols // word.itemsize
    return functools.reduce(torch.bitwise_or, (found[:, col::cols] for col in range(cols)))


def to_blocks(
    weight: Tensor, rows: int, cols: int, live: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The nonzero, or the ``live``, blocks of a weight [n, k] as ``(data, indices, indptr)`` of :func:`bsr_linear`."""
    grid = _grid(weight, rows, cols)
    live = nonzero_blocks(weight, rows, cols) if live is None else live
    block_row, block_col = live.nonzero(as_tuple=True)
    data = grid[block_row, :, block_col, :].transpose(1, 2).contiguous()
    starts = torch.searchsorted(block_row, torch.arange(live.shape[0] + 1), out_int32=True)
    return data, block_col.to(torch.int32), starts


def from_blocks(data: Tensor, indices: Tensor, indptr: Tensor, n: int, k: int) -> Tensor:
    """The dense weight [n, k] behind ``(data, indices, indptr)``; inverse of :func:`to_blocks`."""
    cols, rows = data.shape[1:]
    row_blocks, col_blocks = -(-n // rows), -(-k // cols)
    block_row = torch.repeat_interleave(torch.arange(row_blocks), indptr.diff().to(torch.int64))
    dense = data.new_zeros(row_blocks, rows, col_blocks, cols)
    dense[block_row, :, indices.to(torch.int64), :] = data.transpose(1, 2)
    return dense.reshape(row_blocks * rows, col_blocks * cols)[:n, :k]


def added_blocks(data: Tensor, indices: Tensor, indptr: Tensor, n: int, k: int) -> Tensor:
    """As :func:`from_blocks`, the sum of the blocks that lie at one place."""
    cols, rows = data.shape[1:]
    row_blocks, col_blocks = -(-n // rows), -(-k // cols)
    block_row = torch.repeat_interleave(torch.arange(row_blocks), indptr.diff().to(torch.int64))
    blocks = data.new_zeros(row_blocks * col_blocks, rows, cols)
    blocks.index_add_(0, block_row * col_blocks + indices, data.transpose(1, 2))
    dense = blocks.reshape(row_blocks, col_blocks, rows, cols).transpose(1, 2)
    return dense.reshape(row_blocks * rows, col_blocks * cols)[:n, :k]


def _grid(weight: Tensor, rows: int, cols: int) -> Tensor:
    """[n, k] -> [ceil(n / rows), rows, ceil(k / cols), cols], ragged edges filled with zeros."""
    n, k = weight.shape
    padded = F.pad(weight, (0, -k % cols, 0, -n % rows)) if n % rows or k % cols else weight
    return padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // cols, cols)


def dense_blocks(weight: torch.Tensor, rows: int) -> torch.Tensor:
    """A dense weight [n, k] as all its blocks of ``rows`` x 1: [ceil(n / rows) * k, 1, rows], zero rows past n."""
    n, k = weight.shape
    padded = F.pad(weight, (0, 0, 0, -n % rows))
    return padded.reshape(-1, rows, k).transpose(1, 2).reshape(-1, 1, rows).contiguous()


def from_dense_blocks(data: torch.Tensor, n: int, k: int) -> torch.Tensor:
    """The weight [n, k] of which ``dense_blocks`` made ``data``."""
    rows = data.shape[2]
    return data.reshape(-1, k, rows).transpose(1, 2).reshape(-1, k)[:n].contiguous()
