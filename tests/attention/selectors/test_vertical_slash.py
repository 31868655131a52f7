"""Vertical-slash: columns and diagonals from the last queries, no key twice, nothing after the query."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.attention.selectors import VerticalSlash
from l0compile.errors import InputError
from l0compile.ir.ops.attention.vertical_slash import by_distance

HEADS, DIM = 2, 8


def tokens(seed: int, queries: int, keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(1, HEADS, queries, DIM) * 3, torch.randn(1, HEADS, keys, DIM)


def chosen(q: torch.Tensor, k: torch.Tensor, v: int, s: int, last: int) -> list[tuple[list[int], list[int]]]:
    """Head -> (columns, distances), from the attention of the last queries, key by key."""
    queries, keys = q.shape[2], k.shape[2]
    found = []
    for h in range(HEADS):
        vertical, slash = [0.0] * keys, [0.0] * keys
        for i in range(max(0, queries - last), queries):
            place = keys - queries + i
            shares = (q[0, h, i] @ k[0, h, : place + 1].T * DIM**-0.5).softmax(0).tolist()
            for j, share in enumerate(shares):
                vertical[j] += share
                slash[place - j] += share
        columns = sorted(range(keys), key=lambda j: (j >= 30, -vertical[j] * (j >= 30)))[: max(v, 30)]
        distances = sorted(range(keys), key=lambda d: (d >= 100, -slash[d] * (d >= 100)))[: max(s, 50)]
        found.append((sorted(columns), distances))
    return found


@given(
    rows=st.integers(1, 20), cut=st.integers(0, 15), cached=st.sampled_from([0, 0, 16, 64]),
    v=st.integers(30, 60), s=st.integers(100, 160), last=st.sampled_from([5, 64]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=25)
def test_what_is_seen_is_columns_and_the_blocks_that_diagonals_cross(
    rows: int, cut: int, cached: int, v: int, s: int, last: int, seed: int
) -> None:
    queries = rows * 16 - cut
    q, k = tokens(seed, queries, queries + cached)
    found = VerticalSlash(v, s, last, block_size=16).choose(q, k).to_mask(queries, queries + cached)
    for h, (columns, distances) in enumerate(chosen(q, k, v, s, last)):
        expected = torch.zeros(queries, queries + cached, dtype=torch.bool)
        for row in range(0, queries, 16):
            begin = cached + row
            for i in range(row, min(row + 16, queries)):
                expected[i, begin : cached + i + 1] = True  # the queries' own block
                expected[i, [j for j in columns if j < begin]] = True
                for d in distances:
                    for j in ((begin - d) // 16, (begin + 15 - d) // 16):
                        if 0 <= j * 16 < begin:
                            expected[i, j * 16 : j * 16 + 16] = True
        assert torch.equal(found[0, h], expected)


def test_what_the_last_queries_look_at_is_found() -> None:
    """A key that all queries like, and a distance at which all look back."""
    torch.manual_seed(0)
    base = torch.randn(1, HEADS, 512, DIM)
    q, k = base.roll(200, 2) * 6, base.clone()
    k[:, :, 77] = q[:, :, -64:].mean(2) * 40
    columns, distances = VerticalSlash(31, 101).estimate(q, k)
    assert (columns == 77).any(-1).all() and (distances == 200).any(-1).all()


def test_sums_along_diagonals() -> None:
    shares = torch.rand(3, 7)
    expected = [sum(float(shares[i, 4 + i - d]) for i in range(3) if 0 <= 4 + i - d < 7) for d in range(7)]
    torch.testing.assert_close(by_distance(shares), torch.tensor(expected))


def test_queries_in_the_middle_of_a_block_are_refused() -> None:
    with pytest.raises(InputError, match="a multiple of 64 keys, got 3"):
        VerticalSlash().choose(*tokens(0, 64, 67))
