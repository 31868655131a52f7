"""Layers whose zeros fit the 2:4 format of tensor cores, as data and text: a recommendation, and a prediction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from l0compile.runtime.account.text import TextLine, wrapped

_NAME, _LISTED = 44, 8


@dataclass(frozen=True)
class TwoOfFour:
    """A linear layer that would be faster with two zeros in each four neighbours of a row skipped.

    Attributes:
        name: of its region.
        precision: of its numbers: "float16", "bfloat16" or "int8".
        groups: share of the groups of four weights with at least two zeros.
        more: share of the nonzero weights that are more than two of their group, and would have to become zero.
        ms: predicted milliseconds as it is now.
        two_of_four_ms: the same with 2:4.
    """

    name: str
    precision: str
    groups: float
    more: float
    ms: float
    two_of_four_ms: float


def two_of_four_lines(layers: Sequence[TwoOfFour], width: int) -> Iterator[TextLine]:
    """The recommendation in lines of at most ``width``; none without a layer."""
    if not layers:
        return
    now, then = (sum(times) for times in zip(*((one.ms, one.two_of_four_ms) for one in layers), strict=True))
    yield TextLine("")
    yield from wrapped(
        f"2:4: tensor cores of this GPU skip two zeros of each four weights, and {len(layers)} layers nearly have "
        f"them, or have them in int8. Predicted: {then:.3g} ms in place of {now:.3g} ms for these. Layers of 16-bit "
        "floats that fit exactly are computed so; for int8 no kernel here does it. Nothing was measured.",
        width,
    )
    yield TextLine(
        f"{'layer':<{_NAME}}  groups that fit  weights too many  predicted ms, now and 2:4", "title"
    )
    for one in sorted(layers, key=lambda one: one.two_of_four_ms - one.ms)[:_LISTED]:
        name = one.name if len(one.name) <= _NAME else "…" + one.name[1 - _NAME :]
        shares = f"{one.groups:>15.1%}  {one.more:>16.2%}"
        yield TextLine(f"{name:<{_NAME}}  {shares}  {one.ms:>12.4f}  {one.two_of_four_ms:.4f}")
    if len(layers) > _LISTED:
        yield TextLine(f"and {len(layers) - _LISTED} more", "faint")
