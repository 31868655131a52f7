"""The front: the same facts give the same picture, any other fact gives another, and odd names do no harm."""

import dataclasses

import pytest

from l0compile.measurement import Ratio
from l0compile.report.plots.front import plot_front
from l0compile.studies.result import Candidate, SearchResult

ODD = ["$x_{", "_hidden", "a\nb", "<b>", "\\frac", "名前", "x" * 300, ""]


def test_same_facts_same_picture(report: SearchResult) -> None:
    assert plot_front(report) == plot_front(report)


def _with_loads(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    return tuple(
        dataclasses.replace(
            item, load=Ratio(ms := item.latency.median_ms / 4.0, ms, ms) if item.latency else None
        )
        for item in candidates
    )


@pytest.mark.parametrize(
    "change", ["budget", "dense row", "candidates", "chosen", "front", "ratio", "quality", "interval"]
)
def test_every_fact_shows(report: SearchResult, change: str) -> None:
    first, *others = report.candidates
    assert first.latency is not None
    changed = {
        "budget": {"budget_ms": 5.0},
        "dense row": {"rows": report.rows[1:]},
        "candidates": {"candidates": report.candidates[:3]},
        "chosen": {
            "candidates": tuple(dataclasses.replace(item, chosen=False) for item in report.candidates)
        },
        "front": {"candidates": (dataclasses.replace(first, front=False), *others)},
        "ratio": {"budget_ratio": 0.5, "candidates": _with_loads(report.candidates)},
        "quality": {"candidates": (dataclasses.replace(first, quality=0.83), *others)},
        "interval": {
            "candidates": (
                dataclasses.replace(first, latency=dataclasses.replace(first.latency, low_ms=1.9)),
                *others,
            )
        },
    }[change]
    assert plot_front(dataclasses.replace(report, **changed)) != plot_front(report)  # type: ignore[arg-type]


def test_what_was_not_measured_is_left_out(report: SearchResult) -> None:
    measured = tuple(row for row in report.rows if row.latency is not None)
    trained = tuple(item for item in report.candidates if item.quality is not None or item.number == 5)
    assert len(measured) < len(report.rows) and len(trained) < len(report.candidates)
    assert plot_front(dataclasses.replace(report, rows=measured, candidates=trained)) == plot_front(report)


def test_nothing_to_show_is_a_picture_all_the_same(report: SearchResult) -> None:
    empty = dataclasses.replace(report, rows=(), candidates=(), budget_ms=None)
    assert plot_front(empty).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ODD)
def test_odd_names_do_not_break_the_drawing(report: SearchResult, name: str) -> None:
    rows = tuple(dataclasses.replace(row, name=name) for row in report.rows)
    assert plot_front(dataclasses.replace(report, quality_name=name, rows=rows)).startswith(b"\x89PNG")
