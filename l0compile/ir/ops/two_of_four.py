"""Linear layers whose weight has two zeros in each four neighbours of a row: the format of sparse tensor cores.

A row keeps two numbers of each group of four. Where they were is told in two bits each: of a group the place of the
first number, then that of the second, which is the greater one. Groups that have fewer nonzero numbers keep zeros.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.activation import activate

ROWS, COLUMNS = 16, 64
"""Of a weight, that one piece of places is for: 32 words."""
_GROUP, _KEPT = 4, 2
_GROUPS = 4  # of a row in half a word of places


@torch.library.custom_op("l0compile::two_of_four_linear", mutates_args=())
def two_of_four_linear(
    x: Tensor,
    kept: Tensor,
    places: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    n: int,
    activation: str,
) -> Tensor:
    """activation(x Wᵀ + bias) + residual with W [n, k] as :func:`to_two_of_four` has it.

    Args:
        x: [..., k].
        kept: [n, columns / 2], of x's dtype.
        places: int32 [pieces of rows, pieces of columns, 32].
        bias: [n] or None.
        residual: [..., n] or None.
        n: output features.
        activation: a name of :mod:`l0compile.ir.ops.activation`.

    Returns:
        [..., n], dtype of ``x``. Numbers that are not kept do not propagate NaN or infinity (0 * inf).

    Raises:
        InputError: ``kept`` or ``places`` is of another shape than a weight [n, k] has.
    """
    weight = from_two_of_four(kept, places, n, x.shape[-1])
    y = activate(F.linear(x, weight, bias), activation)
    return y if residual is None else y + residual


@two_of_four_linear.register_fake
def _(x, kept, places, bias, residual, n, activation):  # type: ignore[no-untyped-def]
    _check(kept, places, n, x.shape[-1])
    return x.new_empty(*x.shape[:-1], n)


def fits_two_of_four(weight: Tensor) -> bool:
    """Whether no group of four neighbours in a row of a weight [n, k] has more than two nonzero numbers."""
    return bool(weight.numel()) and int(_counts(weight).max()) <= _KEPT


def _counts(weight: Tensor) -> Tensor:
    """Nonzero numbers of each group; what fills the last one of a row is zero."""
    return F.pad(weight != 0, (0, -weight.shape[1] % _GROUP)).reshape(-1, _GROUP).sum(1)


def to_two_of_four(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(kept, places) of a weight [n, k] that fits.

    Returns:
        Numbers [n, columns / 2] where columns is k, filled up with zeros to a multiple of ``COLUMNS``, and places int32
        [pieces of ``ROWS`` rows, pieces of ``COLUMNS`` columns, 32]. Word 4 g + t of a piece is for columns 16 t to
        16 t + 15 of row g in its lower half and of row g + 8 in its upper half, the first group in the lowest bits:
        as ``mma.sp`` reads it, whose sparsity selector is 0 for the first 32 columns and 1 for the others.

    Raises:
        InputError: a group has more than two nonzero numbers.
    """
    n, k = map(int, weight.shape)
    if not fits_two_of_four(weight):
        raise InputError(
            f"l0compile::two_of_four_linear: expected at most two nonzero numbers in each four neighbours of a row, "
            f"got a weight {tuple(weight.shape)} with more; keep it dense"
        )
    padded = F.pad(weight, (0, -k % COLUMNS, 0, -n % ROWS))
    groups = padded.reshape(padded.shape[0], -1, _GROUP)
    # Nonzero numbers first, in order; then, in order, as many zeros as are missing.
    chosen = (groups == 0).to(torch.uint8).argsort(dim=2, stable=True)[..., :_KEPT].sort(dim=2).values
    kept = groups.gather(2, chosen).reshape(padded.shape[0], -1)[:n].contiguous()
    return kept, _words(chosen[..., 0] | chosen[..., 1] << 2)


def _words(codes: Tensor) -> Tensor:
    """4 bits for each group of each row -> words of both halves of a piece's rows."""
    rows, groups = codes.shape
    each = codes.reshape(rows, groups // _GROUPS, _GROUPS) << torch.arange(0, 4 * _GROUPS, 4)
    halves = each.sum(2).reshape(rows // ROWS, 2, ROWS // 2, -1, COLUMNS // (_GROUPS * _GROUP))
    words = halves[:, 0] | halves[:, 1] << 16  # [pieces, 8, pieces of columns, 4]
    return words.transpose(1, 2).reshape(rows // ROWS, -1, 32).to(torch.int32).contiguous()


def from_two_of_four(kept: Tensor, places: Tensor, n: int, k: int) -> Tensor:
    """The weight [n, k] behind ``(kept, places)``; inverse of :func:`to_two_of_four`."""
    _check(kept, places, n, k)
    pieces, across = places.shape[:2]
    words = places.to(torch.int64).reshape(pieces, across, ROWS // 2, -1).transpose(1, 2)
    halves = torch.stack([words & 0xFFFF, words >> 16 & 0xFFFF], dim=1).reshape(pieces * ROWS, -1, 1)
    codes = (halves >> torch.arange(0, 4 * _GROUPS, 4) & 15).reshape(pieces * ROWS, -1)[:n]
    chosen = torch.stack([codes & 3, codes >> 2], dim=2)
    weight = kept.new_zeros(n, codes.shape[1], _GROUP)
    return weight.scatter_(2, chosen, kept.reshape(n, -1, _KEPT)).reshape(n, -1)[:, :k]


def _check(kept: Tensor, places: Tensor, n: int, k: int) -> None:
    across = -(-k // COLUMNS)
    expected = (n, across * COLUMNS // 2), (-(-n // ROWS), across, 32)
    if tuple(kept.shape) != expected[0] or tuple(places.shape) != expected[1]:
        raise InputError(
            f"l0compile::two_of_four_linear: expected kept and places of {expected} for a weight {(n, k)}, got "
            f"{tuple(kept.shape)} and {tuple(places.shape)}"
        )
