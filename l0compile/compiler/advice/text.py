"""Advice as lines of text."""

import textwrap
from collections.abc import Iterator

from l0compile.compiler.advice.options import Advice, OptionGroup
from l0compile.runtime.account.text import TextLine

_OBSTACLES = 6


def advice_lines(advice: Advice, width: int) -> list[TextLine]:
    """Say what to gate, the most useful first, what is blocked and why, and what no gate touches."""
    useful = [group for group in advice.groups if not group.blocked]
    blocked = [group for group in advice.groups if group.blocked]
    lines = [*_wrapped(_summary(advice), width), TextLine("")]
    lines.append(TextLine(f"{'gates':>8}  {'buys at most':>14}  {'each':>12}  attach", "title"))
    for group in useful:
        lines += _group(group, advice, width)
    if blocked:
        lines += [TextLine(""), TextLine("would buy nothing by themselves", "title")]
        for group in blocked:
            lines += _wrapped(f"{_attach(group)}: {group.blocked}", width, "    ", first="")
    if advice.obstacles:
        lines += [TextLine(""), TextLine("what keeps channels (number of axes)", "title")]
        for reason, count in list(advice.obstacles.items())[:_OBSTACLES]:
            lines += _wrapped(f"{count:>6}  {reason}", width, "        ", first="")
    if advice.unknown:
        lines += _wrapped(f"operators without a rule: {', '.join(advice.unknown)}", width, "    ", first="")
    return lines


def _summary(advice: Advice) -> str:
    weights = sum(advice.regions.values())
    sizes = "".join(f", {name} = {size}" for name, size in advice.sizes.items())
    text = f"One call takes {_amount(advice.total, advice)} on target {advice.target}{sizes}."
    if advice.rest:
        parts = ", ".join(
            f"{name} {cost / advice.total:.0%}"
            for name, cost in sorted(advice.rest.items(), key=lambda p: -p[1])
        )
        text += f" Gates cannot shorten, of that: {parts} (attention shrinks with whole heads)."
    else:
        text += f" Layers with weights and attention: {weights / max(advice.total, 1e-12):.0%}. Counted, not timed."
    return text


def _group(group: OptionGroup, advice: Advice, width: int) -> Iterator[TextLine]:
    share = f"{group.cost / max(advice.total, 1e-12):.1%}"
    each = _amount(group.per_unit, advice)
    start = f"{group.units:>8}  {share:>14}  {each:>12}  "
    yield from _wrapped(start + _attach(group), width, " " * 40, first="")


def _attach(group: OptionGroup) -> str:
    shown = ", ".join(f'"{pattern}"' for pattern in group.patterns[:4])
    more = f" and {len(group.patterns) - 4} more" if len(group.patterns) > 4 else ""
    return f"{shown}{more}: {group.granularity}"


def _amount(value: float, advice: Advice) -> str:
    if advice.unit != "ms":
        return f"{value / 1e6:.3g} M mult."
    return (
        f"{value:.3g} ms"
        if value >= 1
        else f"{1e3 * value:.3g} µs"
        if value >= 1e-3
        else f"{1e6 * value:.3g} ns"
    )


def _wrapped(text: str, width: int, indent: str = "", first: str | None = None) -> list[TextLine]:
    start = indent if first is None else first
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=start,
        subsequent_indent=indent,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    # textwrap drops the leading blanks of a first line that is right-aligned.
    return [TextLine(line) for line in lines] if not text.startswith(" ") else _aligned(text, lines)


def _aligned(text: str, lines: list[str]) -> list[TextLine]:
    blanks = len(text) - len(text.lstrip())
    return [TextLine(" " * blanks + lines[0].lstrip()), *(TextLine(line) for line in lines[1:])]
