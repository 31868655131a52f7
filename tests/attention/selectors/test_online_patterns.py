"""Each head gets the pattern that keeps most of its attention."""

import pytest
import torch

from l0compile.attention.patterns import BigBird, SlidingWindow, SpatialHead, StreamingLLM, TemporalHead
from l0compile.attention.selectors import OnlinePatterns
from l0compile.errors import InputError


def test_spatial_and_temporal_heads_are_told_apart() -> None:
    """Head 0 of the first sequence looks at its frame, head 1 at its place in all frames; the second is the reverse."""
    frames, size = 8, 16
    spatial, temporal = (kind(frames, size, mul=1.0, block_size=8) for kind in (SpatialHead, TemporalHead))
    torch.manual_seed(0)
    of_frame, of_place = torch.randn(frames, 32) * 2, torch.randn(size, 32) * 2
    token = torch.arange(frames * size)
    looks = torch.stack([of_frame[token // size], of_place[token % size]])
    q = torch.stack([looks, looks.flip(0)])
    program = OnlinePatterns((spatial, temporal), frames * size, 2, block_size=16).choose(q, q)
    seen = program.to_mask(frames * size, frames * size)
    masks = [p.mask(frames * size)[0, 0] for p in (spatial, temporal)]
    for b, h in ((0, 0), (0, 1), (1, 0), (1, 1)):
        assert torch.equal(seen[b, h], masks[(b + h) % 2])


@pytest.mark.parametrize("number", range(3))
def test_lists_of_all_kinds_are_kept_apart(number: int) -> None:
    """Patterns with full and partial blocks, with columns, and with a table for each head."""
    patterns = (SlidingWindow(20), StreamingLLM(2, 33), BigBird(16, 1))
    selector = OnlinePatterns(patterns, 120, 3, block_size=16)
    q = torch.randn(2, 3, 120, 4)
    selector.masks.zero_()
    selector.masks[number] = True
    seen = selector.choose(q, q).to_mask(120, 120)
    assert torch.equal(seen, patterns[number].mask(120, heads=3).expand_as(seen))


def test_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="expected 64 queries and keys, got 60"):
        OnlinePatterns((SlidingWindow(20),), 64, 1).choose(*[torch.randn(1, 1, 60, 4)] * 2)
