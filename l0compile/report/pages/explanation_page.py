"""``explain`` as one HTML page: the bound, where the time goes, and each layer before and after."""

from collections.abc import Iterable
from typing import Any

from l0compile.ir.records import Region, StageRecord
from l0compile.report.pages.markup import Markup, page, table, tag
from l0compile.report.regions import FORMAT_COLOURS
from l0compile.runtime.account import Account, Explanation, RegionTime
from l0compile.runtime.account.text import checked, format_text, milliseconds, shape_text

_PART_COLOURS = {
    "weights": "#1d4ed8",
    "attention": "#7c3aed",
    "other kernels": "#0f766e",
    "ordinary operators": "#a16207",
    "islands": "#b91c1c",
    "between kernels": "#9aa5b1",
}
_BEFORE = "#cbd2d9"

# A click on a title sorts by that column: numbers by data-v, the rest by text; a second click turns the order round.
_SORT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("th").forEach((title, column) => title.addEventListener("click", () => {
    const body = table.tBodies[0], order = title.dataset.order === "1" ? -1 : 1;
    table.querySelectorAll("th").forEach(other => delete other.dataset.order);
    title.dataset.order = order;
    const key = row => { const cell = row.cells[column]; return cell.dataset.v ?? cell.textContent; };
    const compare = (a, b) => isNaN(a) || isNaN(b) ? String(a).localeCompare(b) : a - b;
    body.append(...[...body.rows].sort((a, b) => order * compare(key(a), key(b))));
  }));
}
"""


def render_explanation(explanation: Explanation, title: str) -> str:
    """The whole page as text. Nothing is fetched; the one script sorts tables."""
    found = explanation.account
    body = tag(
        "body",
        tag("h1", title),
        *([tag("p", found.sentence, class_="lead"), *_parts(found)] if found else []),
        tag("h2", "Layers"),
        _regions(explanation.regions, found),
        tag("h2", "Operators outside our kernels"),
        _ordinary(explanation, found),
        *_islands(explanation.islands, found),
        tag("h2", "Engine, sizes and checks"),
        _facts(explanation),
        tag("h2", "Passes"),
        _passes(explanation),
    )
    return page(title, body, _SORT)


def _parts(found: Account) -> Iterable[Markup]:
    sizes = ", ".join(f"{name} = {size}" for name, size in found.sizes.items())
    yield tag("h2", "Where the time goes")
    longest = max(found.dense_ms, found.now_ms)
    for label, whole, key in (("dense", found.dense_ms, "before_ms"), ("now", found.now_ms, "after_ms")):
        pieces = [
            tag(
                "span",
                style=f"width:{100 * getattr(part, key) / longest:.2f}%;background:{_PART_COLOURS[part.name]}",
                title=f"{part.name}: {milliseconds(getattr(part, key))} ms",
            )
            for part in found.parts
        ]
        how = f" ({found.before})" if label == "dense" else ""
        yield tag("div", f"{label}{how}: {milliseconds(whole)} ms")
        yield tag("div", *pieces, class_="stack")
    keys = [
        child
        for part in found.parts
        for child in (
            tag("span", class_="key", style=f"background:{_PART_COLOURS[part.name]}"),
            f"{part.name} {milliseconds(part.before_ms)} → {milliseconds(part.after_ms)} ms",
        )
    ]
    yield tag("p", *keys)
    yield tag("p", f"{sizes + '; ' if sizes else ''}{found.threads} thread(s); medians of back-to-back calls")


def _regions(regions: Iterable[Region], found: Account | None) -> Markup:
    times = {item.name: item for item in found.regions} if found else {}
    longest = max((t.before_ms or t.after_ms or 0.0 for t in times.values()), default=0.0) or 1.0
    rows = [
        tag(
            "tr",
            tag("td", region.name, class_="code"),
            tag("td", region.kind),
            tag("td", shape_text(region), class_="n"),
            _cell(region.density, f"{100 * region.density:.3g} %"),
            tag("td", format_text(region)),
            *_time_cells(region, times.get(region.name), longest, bool(found)),
            tag("td", region.reason, class_="why"),
        )
        for region in regions
    ]
    timed = ("before / now", "dense ms", "now ms", "share", "kernels") if found else ()
    return table(("layer", "kind", "shape", "nonzero", "format", *timed, "why"), rows, class_="sortable")


def _time_cells(region: Region, time: RegionTime | None, longest: float, wanted: bool) -> list[Markup]:
    if not wanted:
        return []
    before, after = (time.before_ms, time.after_ms) if time else (None, None)
    colour = FORMAT_COLOURS.get(region.format, "#334e68")
    bars = [
        tag("span", style=f"width:{100 * min(1.0, (ms or 0.0) / longest):.1f}%;background:{shade}")
        for ms, shade in ((before, _BEFORE), (after, colour))
    ]
    share = time.share if time else None
    kernels = ", ".join(dict.fromkeys(time.kernels)) if time else ""
    return [
        tag("td", *bars, class_="pair", **{"data-v": before or 0.0}),
        _cell(before, milliseconds(before)),
        _cell(after, milliseconds(after)),
        _cell(share, "–" if share is None else f"{100 * share:.1f} %"),
        tag("td", kernels or "–", class_="code"),
    ]


def _cell(value: float | None, text: str) -> Markup:
    return tag("td", text, class_="n", **{"data-v": -1.0 if value is None else value})


def _ordinary(explanation: Explanation, found: Account | None) -> Markup:
    if found is None:
        pairs = explanation.ordinary.items()
        rows = [tag("tr", tag("td", name, class_="code"), _cell(count, str(count))) for name, count in pairs]
        return table(("operator", "number"), rows, class_="sortable")
    rows = [
        tag(
            "tr",
            tag("td", name, " (loops as written)" if name in explanation.plain else "", class_="code"),
            _cell(count, str(count)),
            _cell(ms, milliseconds(ms)),
            _cell(ms, f"{100 * ms / found.now_ms:.1f} %"),
        )
        for name, (count, ms) in found.ordinary.items()
    ]
    return table(("function", "launches", "ms", "share of a call now"), rows, class_="sortable")


def _islands(islands: Iterable[StageRecord], found: Account | None) -> Iterable[Markup]:
    times = {name: ms for name, _, ms in found.islands} if found else {}
    for number, stage in enumerate(islands):
        ms = times.get(f"island_{number}")
        cost = (
            ""
            if ms is None or found is None
            else f": {milliseconds(ms)} ms, {ms / found.now_ms:.0%} of a call"
        )
        yield tag("h2", f"Island {number}, run by PyTorch{cost}")
        yield tag("p", stage.reason)
        rows = [
            tag(
                "tr",
                tag("td", item.target, class_="code"),
                tag("td", item.source, class_="code"),
                tag("td", item.reason or "came along with its neighbours", class_="why"),
            )
            for item in stage.operators
        ]
        yield table(("operator", "where", "why"), rows)


def _facts(explanation: Explanation) -> Markup:
    choice = explanation.choice
    facts: list[tuple[str, Any]] = [("check", checked(explanation.verification))]
    facts += [("size", rule) for rule in explanation.sizes]
    if choice is not None:
        facts.append(("engine", f"{choice.engine}: {choice.reason}"))
    return table((), [tag("tr", tag("td", name), tag("td", text)) for name, text in facts])


def _passes(explanation: Explanation) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", item.name, class_="code"),
            _cell(item.changed, str(item.changed)),
            _cell(item.seconds, f"{item.seconds:.3f}"),
        )
        for item in explanation.passes
    ]
    return table(("pass", "changes", "seconds"), rows, class_="sortable")
