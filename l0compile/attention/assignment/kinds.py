"""Sparse patterns by name, as search spaces write them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from l0compile.attention.assignment.assign import HeadPattern
from l0compile.attention.patterns.big_bird import BigBird
from l0compile.attention.patterns.global_tokens import Longformer
from l0compile.attention.patterns.phi3_small import Phi3Small
from l0compile.attention.patterns.sinks import AShape, StreamingLLM, TriShape
from l0compile.attention.patterns.sparse_transformer import FixedStride, Strided
from l0compile.attention.patterns.video import MultiDiagonal, VerticalStripes
from l0compile.attention.patterns.window import Dilated, SlidingWindow
from l0compile.errors import ConfigError
from l0compile.ir.codec import decode

KINDS: dict[str, type[HeadPattern]] = {
    "a-shape": AShape,
    "big-bird": BigBird,
    "dilated": Dilated,
    "fixed": FixedStride,
    "longformer": Longformer,
    "multi-diagonal": MultiDiagonal,
    "phi3-small": Phi3Small,
    "sliding-window": SlidingWindow,
    "streaming-llm": StreamingLLM,
    "strided": Strided,
    "tri-shape": TriShape,
    "vertical-stripes": VerticalStripes,
}
"""Kind -> the frozen dataclass of its patterns. Their parameters are the dataclass's fields."""


def head_patterns(tables: Sequence[Mapping[str, Any]], where: str) -> tuple[HeadPattern, ...]:
    """The patterns that tables such as ``{"kind": "sliding-window", "window": [64, 128]}`` stand for.

    A list of values stands for a pattern of each. Equal patterns are returned once.

    Args:
        tables: each has the kind, and parameters of that kind by their name.
        where: what begins the message of an error.

    Raises:
        ConfigError: a kind or a parameter is unknown, or a value is of the wrong type.
    """
    found: dict[HeadPattern, None] = {}
    for number, table in enumerate(tables):
        for values in _each(table):
            kind = values.pop("kind", None)
            made = KINDS.get(kind) if isinstance(kind, str) else None
            if made is None:
                raise ConfigError(
                    f"{where}[{number}].kind: expected one of {', '.join(sorted(KINDS))}, got {kind!r}"
                )
            found[decode(values, made, f"{where}[{number}]", ConfigError)] = None
    return tuple(found)


def _each(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    choices = [value if isinstance(value, list | tuple) else [value] for value in table.values()]
    for values in product(*choices):
        yield dict(zip(table, values, strict=True))
