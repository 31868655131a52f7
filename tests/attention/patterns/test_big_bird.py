"""Random blocks: as many as asked for, none twice, other ones for each head, the same for the same seed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.attention.patterns import BigBird, PerHead, SvittEdges


def by_block(mask: torch.Tensor, size: int) -> list[list[set[int]]]:
    """Head -> block of queries -> blocks of keys; whole blocks are seen by whole blocks."""
    heads, tokens = mask.shape[1:3]
    found = []
    for head in range(heads):
        rows = []
        for start in range(0, tokens, size):
            seen = mask[0, head, start : start + size]
            assert (seen == seen[0]).all()
            blocks = set((seen[0].nonzero().flatten() // size).tolist())
            assert int(seen[0].sum()) == sum(min(size, tokens - block * size) for block in blocks)
            rows.append(blocks)
        found.append(rows)
    return found


@given(tokens=st.integers(1, 230), random=st.integers(0, 4), seed=st.integers(0, 5))
@settings(max_examples=25)
def test_big_bird_is_windows_ends_and_random_blocks(tokens: int, random: int, seed: int) -> None:
    pattern = BigBird(8, random, seed)
    found = by_block(pattern.mask(tokens, heads=2), 8)
    last = (tokens - 1) // 8
    for rows in found:
        for row, blocks in enumerate(rows):
            given = {b for b in (row - 1, row, row + 1, 0, last) if 0 <= b <= last}
            given = set(range(last + 1)) if row in (0, last) else given
            assert given <= blocks and len(blocks - given) == min(random, last + 1 - len(given))


@given(tokens=st.integers(1, 150), local=st.integers(1, 4), random=st.integers(0, 3))
@settings(max_examples=25)
def test_svitt_keeps_local_random_and_class_edges(tokens: int, local: int, random: int) -> None:
    found = by_block(SvittEdges(local, random, 8).mask(tokens, heads=2), 8)
    blocks_there = range(-(-tokens // 8))
    for rows in found:
        for row, blocks in enumerate(rows):
            given = {b for b in blocks_there if abs(row - b) <= local // 2 or 0 in (row, b)}
            assert given <= blocks
            assert len(blocks - given) == min(random, len(blocks_there) - len(given))


@pytest.mark.parametrize("pattern", [BigBird(16), BigBird(8), BigBird(24), SvittEdges(block_size=16)])
@pytest.mark.parametrize("tokens", [1, 97, 160])
def test_lists_are_the_mask(pattern: BigBird, tokens: int) -> None:
    mask = pattern.mask(tokens, heads=3)
    program = pattern.program(tokens, heads=3, q_block=16, k_block=16)
    assert torch.equal(program.to_mask(tokens, tokens), mask)


def test_seeds_and_heads_differ_and_repeat() -> None:
    one, again, other = (BigBird(8, 3, seed).mask(400, heads=2) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not torch.equal(one[0, 0], one[0, 1])


def test_two_heads_with_one_random_pattern_keep_their_own_blocks() -> None:
    pattern = BigBird(16)
    both = PerHead((pattern, pattern)).program(400, heads=2, q_block=16, k_block=16)
    assert torch.equal(both.to_mask(400, 400), pattern.mask(400, heads=2))
