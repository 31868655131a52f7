"""The report as one HTML page: pictures inlined, nothing fetched, every value escaped."""

import base64
from collections.abc import Iterable
from typing import Any

from l0compile.account.text import format_text, shape_text
from l0compile.records import Region
from l0compile.report.front import plot_front
from l0compile.report.markup import Markup, page, table, tag
from l0compile.report.regions import FORMAT_COLOURS
from l0compile.report.table import comparison_cells
from l0compile.result import Candidate, SearchResult


def render_page(report: SearchResult) -> str:
    """The whole page as text."""
    picture = base64.b64encode(plot_front(report)).decode()
    body = tag(
        "body",
        tag("h1", report.title),
        tag("h2", "Result"),
        _comparison(report),
        tag("h2", "Latency against quality"),
        tag("img", src=f"data:image/png;base64,{picture}", alt="Quality over latency of all candidates"),
        tag("h2", "What became of each region of the chosen model"),
        _regions(report.regions),
        tag("h2", "Candidates"),
        _candidates(report.candidates),
        tag("h2", "How it was measured"),
        *(_facts(name, group) for name, group in report.facts.items()),
    )
    return page(report.title, body)


def _comparison(report: SearchResult) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", row.name),
            *(tag("td", text, class_="n") for text in comparison_cells(report, row)),
            class_="" if row.dense else "chosen",
        )
        for row in report.rows
    ]
    titles = (
        "model",
        "latency, ms",
        "95 % interval",
        f"speed-up over {report.reference}",
        report.quality_name,
    )
    return table(titles, rows)


def _regions(regions: Iterable[Region]) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", region.name, class_="code"),
            tag("td", region.kind),
            tag("td", shape_text(region), class_="n"),
            tag("td", _bar(region), f" {100 * region.density:.3g} %"),
            tag("td", format_text(region)),
            tag("td", region.reason),
        )
        for region in regions
    ]
    return table(("region", "kind", "shape", "density", "format", "why"), rows)


def _bar(region: Region) -> Markup:
    colour = FORMAT_COLOURS.get(region.format, "#334e68")
    share = 100 * min(1.0, max(0.0, region.density))
    return tag("span", tag("span", style=f"width:{share:.1f}%;background:{colour}"), class_="bar")


def _candidates(candidates: Iterable[Candidate]) -> Markup:
    rows = []
    for item in sorted(candidates, key=lambda item: item.number):
        mark = "chosen" if item.chosen else "Pareto front" if item.front else ""
        choices = ", ".join(f"{name} = {_number(value)}" for name, value in item.choices.items())
        rows.append(
            tag(
                "tr",
                tag("td", item.number, class_="n"),
                tag("td", choices, class_="code"),
                tag("td", "not measured" if item.latency is None else item.latency),
                tag("td", _number(item.quality), class_="n"),
                tag("td", item.outcome if item.error is None else f"{item.outcome}: {item.error}"),
                tag("td", mark),
                class_="chosen" if item.chosen else "",
            )
        )
    return table(("trial", "choices", "latency", "quality", "outcome", ""), rows)


def _facts(name: str, group: Any) -> Markup:
    pairs = group.items() if isinstance(group, dict) else enumerate(group)
    rows = [tag("tr", tag("td", key), tag("td", _number(value), class_="code")) for key, value in pairs]
    return tag("section", tag("h3", name), table((), rows))


def _number(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
