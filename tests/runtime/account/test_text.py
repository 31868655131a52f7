"""The text holds every fact within the width, measured or not."""

from dataclasses import replace

import pytest

from l0compile.runtime.account import Explanation


@pytest.mark.parametrize("width", [80, 100, 140])
def test_every_fact_is_there_and_fits(explanation: Explanation, width: int) -> None:
    lines = [line.text for line in explanation.lines(width)]
    text = " ".join(" ".join(lines).split())
    for fact in (
        "at most 5.57 times as fast",
        "256×64",
        "bsr 4×1",
        "20.0%",
        "linear_3; 0.25 of the blocks kept",
        "64×64 → none",
        "0.750 sin (2 launches): its loops run as written",
        "island 0 in PyTorch, 1 operators, 0.750 ms, 8% of the call",
        "aten.cumsum.default at model.py:7 in forward: has no lowering",
        "engine: tvm: faster than PyTorch",
        "batch is 1 or more; (tokens <= 512)",
        "compiled = gated within 1.0e-07",
        "batch = 2, tokens = 24; 1 thread(s); dense: predicted",
    ):
        assert fact in text, fact
    limit = max(width, 84)  # the columns of numbers do not wrap
    assert max(map(len, lines)) <= limit


def test_without_times_it_says_what_is_known(explanation: Explanation) -> None:
    bare = replace(explanation, profile=None)
    text = str(bare)
    assert bare.account is None and "dense ms" not in text
    assert "aten.sin.default (2)" in text and "dropped: nothing reads it" in text


def test_long_reasons_wrap_and_long_names_keep_their_end(explanation: Explanation) -> None:
    region = replace(explanation.regions[0], name="encoder." * 10 + "query", reason="because " * 60)
    lines = [line.text for line in replace(explanation, regions=(region,)).lines(100)]
    assert max(map(len, lines)) <= 100
    assert sum("because" in line for line in lines) >= 5
    assert any(
        line.startswith("…") and "encoder.query (" not in line and "encoder.query" in line for line in lines
    )


def test_goes_through_json(explanation: Explanation) -> None:
    assert Explanation.from_json(explanation.to_json()) == explanation
