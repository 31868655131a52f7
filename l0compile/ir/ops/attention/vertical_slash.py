"""``l0compile::vertical_slash``: columns and diagonals that the last queries look at, as lists for rows of blocks.

It is one operator, not those that it is made of: compiled, it runs in PyTorch as a whole, without checks of the
indices of its gathers.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from l0compile.errors import InputError
from l0compile.ir.ops.attention.lists import packed

FIRST_KEYS, NEAREST, FEWEST_DISTANCES = 30, 100, 50
"""Keys and distances that are always chosen first, and how many distances are chosen at least."""


@torch.library.custom_op("l0compile::vertical_slash", mutates_args=())
def vertical_slash(
    q: Tensor, k: Tensor, vertical_size: int, slash_size: int, last_q: int, block: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Lists of blocks along diagonals, and of single keys that are in none of them.

    Args:
        q: [B, h, Sq, D], floating; the last query stands at the last key, the first one at the beginning of a block.
        k: [B, h, Sk, D].
        vertical_size: columns, 30 or more.
        slash_size: diagonals, 50 or more.
        last_q: queries whose attention decides.
        block: queries and keys of a block.

    Returns:
        Counts [B, h, R] and numbers [B, h, R, N] of blocks before a row's own; counts [B, h, R] and numbers
        [B, h, R, V] of keys before it that no block of these has. All int32.

    Raises:
        InputError: the first query stands within a block.
    """
    own = _own_blocks(q, k, block)
    columns, distances = chosen(q, k, vertical_size, slash_size, last_q)
    crossed = _crossed(distances, k.shape[2], block)
    return *_diagonals(crossed, own), *_outside(columns, crossed, own, block)


@vertical_slash.register_fake
def _(
    q: Tensor, k: Tensor, vertical_size: int, slash_size: int, last_q: int, block: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = (*q.shape[:2], len(_own_blocks(q, k, block)))
    width = min(max(vertical_size, FIRST_KEYS), k.shape[2])
    sizes = rows, (*rows, -(-k.shape[2] // block)), rows, (*rows, width)
    counts, blocks, column_counts, columns = (q.new_empty(size, dtype=torch.int32) for size in sizes)
    return counts, blocks, column_counts, columns


def chosen(q: Tensor, k: Tensor, vertical_size: int, slash_size: int, last_q: int) -> tuple[Tensor, Tensor]:
    """(columns [B, h, V] in order, distances between query and key [B, h, S]) with the largest sums of attention."""
    keys, last = k.shape[2], min(last_q, q.shape[2])
    scores = q[:, :, -last:] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    later = torch.ones(last, keys, dtype=torch.bool, device=q.device).triu(keys - last + 1)
    shares = scores.masked_fill(later, float("-inf")).softmax(-1)
    vertical, slash = shares.sum(-2), by_distance(shares)
    vertical[..., :FIRST_KEYS], slash[..., :NEAREST] = float("inf"), float("inf")
    sizes = max(vertical_size, FIRST_KEYS), max(slash_size, FEWEST_DISTANCES)
    columns, distances = (t.topk(min(n, keys)).indices for t, n in zip((vertical, slash), sizes, strict=True))
    return columns.sort(-1).values, distances


def by_distance(shares: Tensor) -> Tensor:
    """[..., keys]: sums along the diagonals of [..., last, keys], by the distance of the key before the query."""
    last, keys = shares.shape[-2:]
    # Each line is one place longer than a line of the result, so that it begins one place further on there.
    skewed = pad(shares.flip(-1), (0, last)).flatten(-2)[..., :-last]
    return skewed.unflatten(-1, (last, keys + last - 1)).sum(-2)[..., last - 1 :]


def _own_blocks(q: Tensor, k: Tensor, block: int) -> Tensor:
    """[R] int64: the block of keys that each row's own positions are in."""
    first = k.shape[2] - q.shape[2]
    if first % block:
        raise InputError(
            f"l0compile::vertical_slash: expected queries that begin at a multiple of {block} keys, got {first}"
        )
    return torch.arange(first // block, -(-k.shape[2] // block), device=q.device)


def _crossed(distances: Tensor, keys: int, block: int) -> Tensor:
    """[B, h, N] bool: which blocks before its own a row sees, by how many blocks they lie before it."""
    blocks = -(-keys // block)
    marks = torch.zeros(*distances.shape[:2], blocks + 1, dtype=torch.bool, device=distances.device)
    near, far = distances // block, (distances + block - 1) // block
    return marks.scatter_(-1, near, True).scatter_(-1, far, True)[..., :blocks]


def _diagonals(crossed: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Each row lists the blocks at the distances that are crossed, as far as there are blocks."""
    width = crossed.shape[-1]
    before = torch.arange(width, dtype=torch.int32, device=crossed.device)
    past = (before > 0) & crossed
    steps = packed(before.expand(crossed.shape).unsqueeze(2), past.unsqueeze(2), width).entries
    counts = past.cumsum(-1, dtype=torch.int32)[..., own]
    return counts, own.to(torch.int32).unsqueeze(1) - steps


def _outside(columns: Tensor, crossed: Tensor, own: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Single keys of each row: those before its own block and in no block that it lists."""
    back = own.unsqueeze(1) - (columns // block).unsqueeze(2)
    listed = crossed.unsqueeze(2).expand(-1, -1, len(own), -1).gather(-1, back.clamp(min=0))
    numbers = columns.to(torch.int32).unsqueeze(2).expand(back.shape)
    lists = packed(numbers, (back > 0) & ~listed, back.shape[-1])
    return lists.counts, lists.entries
