"""The explanation as lines of text, for a terminal or ``print``."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from l0compile.ir.records import HeadRecord, Region, StageRecord
from l0compile.runtime.account.bound import Account, RegionTime

Style = Literal["plain", "title", "faint"]
_PART = 34  # width of a part's name
_NAME, _REST = 20, 48  # least width of a region's name; of the columns beside name and shape
_ORDINARY = 8  # operators listed before "and more"


@dataclass(frozen=True)
class TextLine:
    """One line of text and how it should look."""

    text: str
    style: Style = "plain"


def checked(result: Mapping[str, Any]) -> str:
    """Say what ``Explanation.verification`` holds."""
    if not result.get("checked"):
        reason = result.get("reason")
        return "not compared with the original model" + (f": {reason}" if reason else "")
    return (
        f"checked: compiled = gated within {result['max_difference']:.1e} of the largest value "
        f"on {result['inputs']} inputs (tolerance {result['tolerance']:.0e}){_rounding(result)}{_fast_path(result)}"
    )


def _rounding(result: Mapping[str, Any]) -> str:
    if "rounding" not in result:
        return ""
    return "; the model rounds to integers: that much moves when last bits before a rounding change"


def _fast_path(result: Mapping[str, Any]) -> str:
    if "fast_path" not in result:
        return ""
    return (
        "; padded tokens are computed like others, as torch.export and torch.compile do; an eager "
        f"nn.TransformerEncoder gives zeros there unless torch.backends.mha.set_fastpath_enabled(False): results "
        f"differ by up to {result['fast_path']:.1e} of the largest value"
    )


def shape_text(region: Region) -> str:
    """Return ``1536×384 → 1020×384``, or the shape alone if it did not change."""
    before, after = ("×".join(map(str, shape)) for shape in (region.shape_before, region.shape_after))
    if region.format == "dropped":
        return f"{before} → none"
    return before if before == after else f"{before} → {after}"


def format_text(region: Region) -> str:
    """Return ``bsr 4×1``, or the format alone if there is no block; then the precision, if it is not float32."""
    text = region.format if region.block is None else f"{region.format} {region.block[0]}×{region.block[1]}"
    return text if region.precision == "float32" else f"{text} {region.precision}"


def milliseconds(value: float | None) -> str:
    """Return three digits, or a dash for what is not known."""
    return "–" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def part_lines(found: Account) -> Iterator[TextLine]:
    """List the parts of the model with their times."""
    sizes = ", ".join(f"{name} = {size}" for name, size in found.sizes.items())
    where = f"{sizes}; " if sizes else ""
    yield TextLine(f"{'part of the model':<{_PART}}  dense ms  now ms  share", "title")
    for part in found.parts:
        times = f"{milliseconds(part.before_ms):>8}  {milliseconds(part.after_ms):>6}"
        yield TextLine(f"{part.name:<{_PART}}  {times}  {part.share:>5.0%}")
    yield TextLine(f"({where}{found.threads} thread(s); dense: {found.before})", "faint")


def region_lines(regions: Iterable[Region], found: Account | None, width: int) -> Iterator[TextLine]:
    """List each region with its fate, and with its times if they were measured."""
    regions = tuple(regions)
    wide = max([len("shape"), *(len(shape_text(region)) for region in regions)])
    room = max(_NAME, width - _REST - wide)
    title = f"{'region':<{room}}  {'shape':<{wide}}  {'nonzero':>7}  {'format':<10}"
    yield TextLine(title + ("  dense ms  now ms  share" if found else ""), "title")
    times = {item.name: item for item in found.regions} if found else {}
    for region in regions:
        name = _shortened(f"{region.name} ({region.kind})" if region.kind != "linear" else region.name, room)
        shape, form = shape_text(region), format_text(region)
        cells = f"{name:<{room}}  {shape:<{wide}}  {region.density:>7.1%}  {form:<10}"
        yield TextLine((cells + _time_cells(times.get(region.name))).rstrip())
        kernels = _kernels(times.get(region.name))
        why = "; ".join(filter(None, (kernels, region.reason)))
        yield from wrapped(why, width, "    ", "faint")


def _time_cells(time: RegionTime | None) -> str:
    if time is None:
        return ""
    share = "–" if time.share is None else f"{time.share:.1%}"
    return f"  {milliseconds(time.before_ms):>8}  {milliseconds(time.after_ms):>6}  {share:>5}"


def _kernels(time: RegionTime | None) -> str:
    if time is None or (time.after_ms == 0 and not time.kernels):
        return ""
    return ", ".join(dict.fromkeys(time.kernels)) or "computed by ordinary operators"


def head_lines(heads: Sequence[HeadRecord], found: Account | None, width: int) -> Iterator[TextLine]:
    """List the patterns of each attention: their heads, what these read, take and lose together.

    The time of an attention is shared out by the keys that heads read.
    """
    yield TextLine(f"{'keys':>6}  {'ms':>6}  {'loss':>8}  heads and their patterns", "title")
    times = {item.name: item.after_ms for item in found.regions if item.kind == "attention"} if found else {}
    for region, members in groupby(heads, key=lambda head: head.region):
        own = list(members)
        total, ms = sum(head.density for head in own), times.get(region)
        for pattern in dict.fromkeys(head.pattern for head in own):
            alike = [head for head in own if head.pattern == pattern]
            keys, known = (
                sum(head.density for head in alike),
                [head.loss for head in alike if head.loss is not None],
            )
            loss = f"{sum(known):.2g}" if len(known) == len(alike) else "–"
            taken = milliseconds(None if ms is None or not total else ms * keys / total)
            numbers = ", ".join(str(head.head) for head in alike)
            cells = f"{keys / len(alike):>6.1%}  {taken:>6}  {loss:>8}  "
            yield from wrapped(f"{region} {numbers}: {pattern}", width, " " * len(cells), first=cells)


def ordinary_lines(found: Account, plain: tuple[str, ...], width: int) -> Iterator[TextLine]:
    """List the operators that run outside our kernels, the slowest first."""
    total = sum(ms for _, ms in found.ordinary.values())
    yield TextLine(
        f"ordinary operators: {milliseconds(total)} ms of {milliseconds(found.now_ms)} ms now", "title"
    )
    for number, (name, (count, ms)) in enumerate(found.ordinary.items()):
        if number == _ORDINARY:
            yield TextLine(f"{'':>8}  and {len(found.ordinary) - number} more", "faint")
            return
        note = ": its loops run as written, no schedule rule fits them" if name in plain else ""
        yield from wrapped(
            f"{milliseconds(ms):>8}  {name}" + (f" ({count} launches)" if count > 1 else "") + note,
            width,
            "          ",
            first="",
        )


def island_lines(number: int, stage: StageRecord, found: Account | None, width: int) -> Iterator[TextLine]:
    """Say what an island computes, and why PyTorch runs it."""
    times = {name: ms for name, _, ms in found.islands} if found else {}
    ms = times.get(f"island_{number}")
    share = (
        "" if ms is None or found is None else f", {milliseconds(ms)} ms, {ms / found.now_ms:.0%} of the call"
    )
    yield TextLine(f"island {number} in PyTorch, {len(stage.operators)} operators{share}", "title")
    yield from wrapped(stage.reason, width, "    ")
    for item in stage.operators:
        if item.reason:
            yield from wrapped(f"{item.target} at {item.source}: {item.reason}", width, "    ", "faint")


def wrapped(
    text: str, width: int, indent: str = "", style: Style = "plain", first: str | None = None
) -> list[TextLine]:
    """Break ``text`` into lines of at most ``width``; ``first`` is the indent of the first one."""
    start = indent if first is None else first
    lines = textwrap.wrap(text, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False)
    return [TextLine(line, style) for line in lines]


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else "…" + text[-limit + 1 :]
