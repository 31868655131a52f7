"""3x3 convolutions with fewer multiplications (Winograd 1980, along columns), in planes; the operators' definitions.

A strip is ``m`` rows of the result. With B, G and A of :func:`transforms`, d the m + 2 rows of the image that a strip
sees and g a column of the kernel, the m results are A^T ((G g) * (B^T d)): m + 2 products instead of 3 m. G g is
computed at compile time; B^T d, for all strips, is an image of m + 2 times the channels with one row per strip. So the
convolution becomes m + 2 convolutions of three taps in a row, and a sum of their results for each row of a strip.

The sums round differently from those of the plain convolution, by up to about four times as much, and an infinite or
undefined number spoils the strips that see it, not only the pixels that do.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.bsr import from_blocks
from l0compile.ir.ops.planes import Planes, pixel_index

# The points at which the construction evaluates polynomials, for each height of a strip: among fractions with small
# denominators those with the smallest rounding error.
_POINTS = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2)),
}
HEIGHTS = tuple(_POINTS)
"""The heights of a strip, in rows, that have transforms."""

Matrix = tuple[tuple[float, ...], ...]


class Transforms(NamedTuple):
    """B^T [m + 2, m + 2], G [m + 2, 3] and A^T [m, m + 2]."""

    data: Matrix
    kernel: Matrix
    result: Matrix


@cache
def transforms(m: int) -> Transforms:
    """The matrices for strips of ``m`` rows, one of ``HEIGHTS``, by the construction of Cook and Toom."""
    points = _POINTS[m]
    data, kernel = [], []
    for point in points:
        others = [other for other in points if other != point]
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        data.append([*_with_roots(others), Fraction(0)])
        kernel.append([point**k / scale for k in range(3)])
    data.append(_with_roots(list(points)))
    kernel.append([Fraction(0), Fraction(0), Fraction(1)])
    result = [[*(point**k for point in points), Fraction(int(k == m - 1))] for k in range(m)]
    return Transforms(_floats(data), _floats(kernel), _floats(result))


def _with_roots(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients, constant first, of the product of (x - root)."""
    product = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *product]
        product = [a - root * b for a, b in zip(shifted, [*product, Fraction(0)], strict=True)]
    return product


def _floats(matrix: list[list[Fraction]]) -> Matrix:
    return tuple(tuple(float(number) for number in row) for row in matrix)


def strip_count(height: int, m: int) -> int:
    """The number of strips of ``m`` rows that cover ``height`` rows."""
    return -(-height // m)


@torch.library.custom_op("l0compile::winograd_planes", mutates_args=())
def winograd_planes(x: Tensor, source: Sequence[int], result: Sequence[int], m: int) -> Tensor:
    """B^T d of every strip: [N, C, size] -> [N, (m + 2) * C, size'], one row of the result per strip.

    Row s of channel k * C + c is the sum over a of B^T[k, a] times row m * s - 1 + a of channel c, zero where there is
    no such row.

    Args:
        source, result: ``Planes.numbers()`` of both sides, of the same width.
    """
    here, there = Planes(*source), Planes(*result)
    image = x[:, :, pixel_index(here)]
    below = m * there.height + 1 - here.height
    seen = torch.nn.functional.pad(image, (0, 0, 1, below)).unfold(2, m + 2, m)
    matrix = torch.tensor(transforms(m).data)
    y = x.new_zeros(x.shape[0], m + 2, x.shape[1], there.size)
    y[..., pixel_index(there)] = torch.einsum("ka,ncswa->nkcsw", matrix, seen)
    return y.flatten(1, 2)


@winograd_planes.register_fake
def _(x, source, result, m):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], x.shape[1] * (m + 2), result[4])


@torch.library.custom_op("l0compile::packed_winograd", mutates_args=())
def packed_winograd(
    x: Tensor,
    data: Tensor,
    offsets: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    n: int,
    source: Sequence[int],
    result: Sequence[int],
    m: int,
    activation: str,
    slope: Tensor | None = None,
) -> Tensor:
    """activation(A^T of the m + 2 products + bias + residual): [N, (m + 2) * C, size] -> [N, n, size'].

    Product k is the dense ``packed_conv2d`` with the k-th part of ``data`` of what begins at channel k * C.

    Args:
        x: what ``winograd_planes`` gives, in the layout ``source``.
        data: [(m + 2) * row blocks * P, 1, rows]: the blocks of G g, one part after the other.
        offsets: [P] int32, the place of each column in the first C channels.
        residual: [N, n, size'] in the layout of the result.
        result: ``Planes.numbers()`` of the result.
        slope: [n] of the activation "prelu".
    """
    here, there, rows, columns = Planes(*source), Planes(*result), data.shape[2], offsets.shape[0]
    row_blocks = -(-n // rows)
    indptr = torch.arange(row_blocks + 1, dtype=torch.int32) * columns
    column = torch.arange(columns).repeat(row_blocks)
    pixels = pixel_index(here).flatten() - here.lead
    products = []
    for part, planes in zip(data.chunk(m + 2), x.chunk(m + 2, 1), strict=True):
        seen = planes.flatten(1)[:, offsets.long()[:, None] + pixels]
        products.append(from_blocks(part, column, indptr, n, columns) @ seen)
    y = torch.einsum("ak,knop->nopa", torch.tensor(transforms(m).result), torch.stack(products))
    y = (
        y.unflatten(2, (here.height, here.width))
        .transpose(3, 4)
        .flatten(2, 3)[:, :, : there.height]
        .flatten(2)
    )
    place = pixel_index(there).flatten()
    if bias is not None:
        y = y + bias[:, None]
    if residual is not None:
        y = y + residual[:, :, place]
    whole = x.new_zeros(x.shape[0], n, there.size)
    whole[:, :, place] = activate(y, activation, None if slope is None else slope[:, None])
    return whole


@packed_winograd.register_fake
def _(x, data, offsets, bias, residual, n, source, result, m, activation, slope=None):  # type: ignore[no-untyped-def]
    return x.new_empty(x.shape[0], n, result[4])
