"""The report of a search as one HTML page."""

from collections.abc import Mapping
from typing import Any

from l0compile.report.blocks import (
    block_order,
    common_prefix,
    layer_groups,
    shape_shares,
    target_name,
)
from l0compile.report.candidates import measured_table, with_layers
from l0compile.report.pages.page import render
from l0compile.report.plots.agreement import budgets, predictions
from l0compile.report.plots.parallel import parallel
from l0compile.report.plots.tradeoff import tradeoff
from l0compile.report.terminal import comparison_cells, latency_titles, tells_precisions
from l0compile.studies.result import PHASE_SECONDS, SearchResult

_LEGEND = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0)


def render_search(report: SearchResult, targets: Mapping[str, SearchResult] | None = None) -> str:
    """Return the whole page. What a result of an earlier version does not know is left out.

    Args:
        report: What the page shows.
        targets: Results by name, this one among them, whose block shapes are compared; default: this one only.
    """
    candidates = sorted(report.candidates, key=lambda item: item.number)
    return render(
        "search.html",
        title=report.title,
        report=report,
        rows=[(row, comparison_cells(row)) for row in report.rows],
        latency_titles=list(latency_titles(report)),
        precise=tells_precisions(report),
        tradeoff=tradeoff(report),
        measured=measured_table(report),
        agreements=[plot for plot in (budgets(report), predictions(report)) if plot],
        layers=_layers(report),
        blocks=_blocks(targets or {target_name(report): report}),
        several=bool(targets),
        parallel=parallel(report),
        candidates=candidates,
        choices=list(dict.fromkeys(name for item in candidates for name in item.choices)),
        phases=report.facts.get(PHASE_SECONDS, {}),
        facts={
            name: group if isinstance(group, Mapping) else dict(enumerate(group))
            for name, group in report.facts.items()
            if name != PHASE_SECONDS
        },
    )


def _layers(report: SearchResult) -> dict[str, Any] | None:
    """Return layers and the candidates that tell theirs; None if no candidate does."""
    items = with_layers(report)
    names = list(dict.fromkeys(name for item in items for name in item.layers))
    return (
        {"items": items, "names": names, "prefix": common_prefix(names), "legend": _LEGEND} if items else None
    )


def _blocks(results: Mapping[str, SearchResult]) -> dict[str, Any] | None:
    """Return block shapes, and layers, by target; None if no result tells its layers."""
    shares = {name: found for name, result in results.items() if (found := shape_shares(result))}
    if not shares:
        return None
    groups = [layer_groups(results[name]) for name in shares]
    machines = [target_name(results[name]) for name in shares]
    places = list(dict.fromkeys(place for found in groups for place in found))
    return {
        "titles": [
            n if n == machine else f"{n} ({machine})" for n, machine in zip(shares, machines, strict=True)
        ],
        "shapes": sorted({shape for found in shares.values() for shape in found}, key=block_order),
        "shares": list(shares.values()),
        "groups": groups,
        "places": places,
        "prefix": common_prefix(places),
    }
