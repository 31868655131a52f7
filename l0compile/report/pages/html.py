"""The report as one HTML page: pictures inlined, nothing fetched, every value escaped."""

from collections.abc import Iterable, Mapping
from typing import Any

from l0compile.ir.records import Region
from l0compile.report.pages.blocks import blocks_tables, target_name
from l0compile.report.pages.fitted import fitted_table
from l0compile.report.pages.heat import heat_map
from l0compile.report.pages.markup import Markup, page, table, tag
from l0compile.report.plots.agreement import budgets, predictions
from l0compile.report.plots.parallel import parallel
from l0compile.report.plots.tradeoff import tradeoff
from l0compile.report.regions import FORMAT_COLOURS
from l0compile.report.table import comparison_cells
from l0compile.runtime.account.text import format_text, shape_text
from l0compile.studies.result import Candidate, SearchResult


def render_page(report: SearchResult, targets: Mapping[str, SearchResult] | None = None) -> str:
    """The whole page as text.

    targets: results by name, this one among them, whose block shapes are shown side by side; default: this one only.
    """
    body = tag(
        "body",
        tag("h1", report.title),
        tag("h2", "Result"),
        _comparison(report),
        *(tag("p", item if item.met else tag("strong", item)) for item in report.asked),
        *([] if report.warning is None else [tag("p", tag("strong", f"WARNING: {report.warning}"))]),
        tag("h2", "Latency against quality"),
        tradeoff(report),
        fitted_table(report),
        *_section("Budgets and predictions", budgets(report), predictions(report), class_="pictures"),
        *_section("Densities and block shapes of each layer", heat_map(report)),
        *_section(
            "Block shapes by target" if targets else "Block shapes for this target",
            blocks_tables(targets or {target_name(report): report}),
        ),
        tag("h2", "What became of each region of the chosen model"),
        _regions(report.regions),
        *_section("What the trials tried", parallel(report)),
        tag("h2", "Candidates"),
        _candidates(report.candidates),
        tag("h2", "How it was measured"),
        *(_facts(name, group) for name, group in report.facts.items()),
    )
    return page(report.title, body)


def _section(title: str, *parts: Markup | None, **attributes: object) -> list[Markup]:
    """Nothing where there is nothing to show: results of earlier versions know less."""
    found = [part for part in parts if part is not None]
    return [tag("h2", title), tag("div", *found, **attributes)] if found else []


def _comparison(report: SearchResult) -> Markup:
    rows = [
        tag(
            "tr",
            tag("td", row.name),
            *(tag("td", text, class_="n") for text in comparison_cells(row)),
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
            tag("td", _bar(region), f" {100 * region.density:.3g} %", class_="whole"),
            tag("td", format_text(region), class_="whole"),
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
    items = sorted(candidates, key=lambda item: item.number)
    names = tuple(dict.fromkeys(name for item in items for name in item.choices))
    rows = [
        tag(
            "tr",
            tag("td", item.number, class_="n"),
            tag(
                "td", item.outcome if item.error is None else f"{item.outcome}: {item.error}", class_="words"
            ),
            tag("td", "chosen" if item.chosen else "Pareto front" if item.front else "", class_="mark"),
            tag("td", _number(item.quality), class_="n"),
            tag("td", "not measured" if item.latency is None else item.latency, class_="n"),
            *(tag("td", _number(item.choices.get(name)), class_="n") for name in names),
            class_="chosen" if item.chosen else "",
        )
        for item in items
    ]
    return table(("candidate", "outcome", "", "quality", "latency", *names), rows)


def _facts(name: str, group: Any) -> Markup:
    pairs = group.items() if isinstance(group, dict) else enumerate(group)
    rows = [
        tag("tr", tag("td", _words(key).replace("_", " ")), tag("td", _words(value))) for key, value in pairs
    ]
    return tag("section", tag("h3", name), table((), rows))


def _number(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _words(value: object) -> str:
    """A fact for people: what it consists of, one after the other."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(key).replace('_', ' ')} {_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return _number(value)
