"""Each pattern shows what its paper says, whatever the sizes and blocks; the rules here are written a second time."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.attention.patterns import (
    AShape,
    AttentionBottlenecks,
    Causal,
    Dilated,
    FixedStride,
    GlobalTokens,
    Longformer,
    MultiDiagonal,
    Pattern,
    PerHead,
    Phi3Small,
    SlidingWindow,
    SpatialHead,
    StreamingLLM,
    Strided,
    SwinWindows,
    TemporalHead,
    TriShape,
    VerticalStripes,
)
from l0compile.errors import ConfigError

HEADS = 3
Rule = Callable[[int, int, int, int], bool]
"""(query, key, head, number of tokens) -> whether the query sees the key."""


def near_in_steps(distance: int, step: int, count: int) -> bool:
    return any(distance == step * i for i in range(-count, count + 1))


def swin(height: int, width: int, size: int, shift: int) -> Rule:
    """Roll the image, cut it into windows, and keep apart in a window what the roll has put together."""

    def place(token: int) -> tuple[int, int, bool, bool]:
        y, x = divmod(token, width)
        rolled = (y - shift) % height, (x - shift) % width
        return rolled[0] // size, rolled[1] // size, y < shift, x < shift

    return lambda q, k, h, n: place(q) == place(k)


def phi3(block: int, local: int, stride: int) -> Rule:
    step = max(1, int(stride / HEADS))

    def sees(q: int, k: int, h: int, n: int) -> bool:
        q_block, k_block = q // block, k // block
        return k <= q and (q_block - k_block < local or (k_block + h * step + 1) % stride == 0)

    return sees


def video(frames: int, size: int, reach: int, block: int, temporal: bool) -> Rule:
    def place(token: int) -> int:
        frame, inside = divmod(token, size)
        return (inside * frames + frame if temporal else token) // block

    text = frames * size
    return lambda q, k, h, n: q >= text or k >= text or abs(place(q) - place(k)) < reach


def bottleneck(sizes: list[int]) -> Rule:
    owner = [number for number, size in enumerate(sizes) for _ in range(size)]

    def sees(q: int, k: int, h: int, n: int) -> bool:
        shared = q >= len(owner) or k >= len(owner)
        return shared or owner[q] == owner[k]

    return sees


CASES: list[tuple[Pattern, Rule]] = [
    (Causal(), lambda q, k, h, n: k <= q),
    (SlidingWindow(9), lambda q, k, h, n: k in range(q - 8, q + 1)),
    (SlidingWindow(9, causal=False), lambda q, k, h, n: abs(q - k) <= 4),
    (Dilated(5, 3), lambda q, k, h, n: near_in_steps(q - k, 3, 2)),
    (Dilated(5, 3, causal=True), lambda q, k, h, n: k in (q, q - 3, q - 6, q - 9, q - 12)),
    (Strided(7), lambda q, k, h, n: k <= q and (k > q - 7 or (q - k) % 7 == 0)),
    (FixedStride(8, 2), lambda q, k, h, n: k <= q and (k // 8 == q // 8 or k % 8 in (6, 7))),
    (GlobalTokens((0, 19)), lambda q, k, h, n: bool({q, k} & {0, 19})),
    (Longformer(12, 1, (0,)), lambda q, k, h, n: abs(q - k) <= 6 or q == 0 or k == 0),
    (Longformer(4, (1, 2, 5), (3,)), lambda q, k, h, n: 3 in (q, k) or near_in_steps(q - k, (1, 2, 5)[h], 2)),
    (StreamingLLM(2, 11), lambda q, k, h, n: k <= q and (k < 2 or q - k < 11)),
    (AShape(10, 13), lambda q, k, h, n: k <= q and (k in range(10) or k in range(q - 12, q + 1))),
    (TriShape(3, 6, 7), lambda q, k, h, n: k <= q and (q + 7 >= n or k < 3 or k > q - 6)),
    (Phi3Small(4, 2, 3), phi3(4, 2, 3)),
    (Phi3Small(16, 1, 8), phi3(16, 1, 8)),
    (MultiDiagonal(4, 11), lambda q, k, h, n: any(abs(q - k + 11 * i) <= 2 for i in range(-20, 21))),
    (VerticalStripes(2, 9), lambda q, k, h, n: k % 9 in (0, 1)),
    (SpatialHead(4, 12, 5, block_size=4), video(4, 12, 4, 4, temporal=False)),
    (TemporalHead(4, 12, 5, block_size=4), video(4, 12, 4, 4, temporal=True)),
    (AttentionBottlenecks((13, 30), 4), bottleneck([13, 30])),
    (
        PerHead((SlidingWindow(5), Causal(), SlidingWindow(5))),
        lambda q, k, h, n: k <= q and (h == 1 or k > q - 5),
    ),
    (SlidingWindow(6, causal=False) & Causal(), lambda q, k, h, n: q - 3 <= k <= q),
]


def written_out(rule: Rule, queries: int, keys: int) -> torch.Tensor:
    """The dense mask [1, HEADS, queries, keys] of a rule; the last query stands at the last key."""
    first = keys - queries
    rows = [
        [[rule(first + i, j, h, keys) for j in range(keys)] for i in range(queries)] for h in range(HEADS)
    ]
    return torch.tensor(rows).unsqueeze(0)


def check(pattern: Pattern, expected: torch.Tensor, q_block: int, k_block: int) -> None:
    queries, keys = expected.shape[2:]
    program = pattern.program(queries, keys, HEADS, q_block=q_block, k_block=k_block)
    assert torch.equal(program.to_mask(queries, keys).expand_as(expected), expected)
    assert torch.equal(pattern.mask(queries, keys, HEADS).expand_as(expected), expected)


@pytest.mark.parametrize(("pattern", "rule"), CASES, ids=lambda case: type(case).__name__)
@given(
    queries=st.integers(1, 60),
    more=st.integers(0, 40),
    q_block=st.sampled_from([1, 8, 16, 32]),
    k_block=st.sampled_from([8, 16, 32]),
)
@settings(max_examples=12)
def test_a_pattern_shows_what_its_rule_says(
    pattern: Pattern, rule: Rule, queries: int, more: int, q_block: int, k_block: int
) -> None:
    check(pattern, written_out(rule, queries, queries + more), q_block, k_block)


@pytest.mark.parametrize(("height", "width", "shift"), [(8, 12, 0), (8, 12, 2), (4, 8, 3)])
@pytest.mark.parametrize("blocks", [(16, 16), (8, 32), (5, 7)])
def test_windows_of_an_image(height: int, width: int, shift: int, blocks: tuple[int, int]) -> None:
    rule = swin(height, width, 4, shift)
    expected = written_out(rule, height * width, height * width)
    check(SwinWindows(height, width, 4, shift), expected, *blocks)


def test_a_decoding_step_sees_its_window_of_the_cache() -> None:
    program = SlidingWindow(100).program(1, 1000, q_block=1, k_block=16)
    assert program.to_mask(1, 1000)[0, 0, 0].nonzero().flatten().tolist() == list(range(900, 1000))


def test_single_keys_are_columns_and_not_blocks() -> None:
    program = StreamingLLM(4, 64).program(640)
    assert program.columns is not None and program.columns.entries[0, 0, 5].tolist() == [0, 1, 2, 3]
    assert program.kept(640, 640) < 0.2


def test_heads_that_see_the_same_share_their_tables() -> None:
    same, other = SlidingWindow(200), Strided(16)
    program = PerHead((same, other, same)).program(640, heads=3)
    assert program.full is not None and torch.equal(program.full.counts[0, 0], program.full.counts[0, 2])
    assert (
        program.patterns is not None and len(program.patterns) == 3 + 3
    )  # in each: first blocks, then others
    alone = same.program(640, heads=3)
    assert alone.full is not None and alone.full.counts.shape[1] == 1


def test_a_pattern_for_each_head_is_expected() -> None:
    with pytest.raises(ConfigError, match="each of 3 heads, got 2"):
        PerHead((Causal(), Causal())).program(8, heads=3)


def test_long_sequences_are_listed_without_a_dense_mask() -> None:
    """131,072 tokens: a dense mask would take 16 GiB."""
    program = AShape(128, 3968).program(1 << 17)
    assert program.full is not None and int(program.full.counts.max()) == 2 + 61
