"""Parameters of patterns that make no sense are refused where they are given."""

import pytest

from l0compile.attention import BigBird, Dilated, SlidingWindow, StreamingLLM, Strided
from l0compile.attention.patterns.pattern import Pattern
from l0compile.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        (
            SlidingWindow,
            {"window": "x"},
            "SlidingWindow: window: expected a whole number of 1 or more, got 'x'",
        ),
        (SlidingWindow, {"window": 0}, "window: expected a whole number of 1 or more, got 0"),
        (SlidingWindow, {"window": True}, "window: expected a whole number of 1 or more, got True"),
        (BigBird, {"block_size": 0}, "BigBird: block_size: expected a whole number of 1 or more, got 0"),
        (
            BigBird,
            {"num_random_blocks": -1},
            "num_random_blocks: expected a whole number of 0 or more, got -1",
        ),
        (Strided, {"stride": 2.5}, "stride: expected a whole number of 1 or more, got 2.5"),
        (Dilated, {"kernel_size": 3, "dilation": 0}, "dilation: expected a whole number of 1 or more, got 0"),
        (StreamingLLM, {"start_size": -4}, "start_size: expected a whole number of 0 or more, got -4"),
    ],
)
def test_a_wrong_parameter_is_named(kind: type[Pattern], given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**given)


def test_what_may_be_zero_stays_legal() -> None:
    assert BigBird(num_random_blocks=0).program(256).full is not None
    assert StreamingLLM(start_size=0, recent_size=64).program(256).partial is not None
