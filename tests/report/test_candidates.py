"""The table of measured candidates has their ratios, and says which trial each has its choices from."""

import dataclasses

from l0compile.report.candidates import measured_table, origin
from l0compile.studies.result import Candidate, Latency, SearchResult


def test_the_table_has_ratios_and_where_choices_come_from(search: SearchResult) -> None:
    assert [origin(search, item) for item in search.candidates] == [None] * 4 + [1, 2, 1, 1]
    titles, rows = measured_table(search)
    found = {item.number: dict(zip(titles, cells, strict=True)) for item, cells in rows}
    assert list(found) == [6, 4, 5, 7]
    assert found[4] == {
        "candidate": "#4", "of trial": "#1", "wanted, ms": "4.000", "measured, ms": "3.920",
        "95 % interval": "3.842 to 4.038", "measured / wanted": "0.980", "budget": "met", "predicted, ms": "3.998",
        "predicted / measured": "1.020", "quality": "0.9200", "result": "chosen, before its training",
    }  # fmt: skip
    assert found[5]["of trial"] == "#2" and found[5]["result"] == "–"
    assert found[7]["budget"] == "too slow" and found[7]["measured / wanted"] == "1.058"


def test_the_table_leaves_out_what_nothing_knows(report: SearchResult) -> None:
    titles, _ = measured_table(report)
    assert titles == ["candidate", "measured, ms", "95 % interval", "quality", "result"]
    known = Candidate(9, {}, "fitted", Latency(1.0, 1.0, 1.0), 0.5, predicted_ms=1.1)
    titles, rows = measured_table(dataclasses.replace(report, candidates=(*report.candidates, known)))
    assert "predicted, ms" in titles and "wanted, ms" not in titles
    assert [cells[titles.index("predicted, ms")] for _, cells in rows] == ["1.100"] + ["–"] * 5
    assert measured_table(dataclasses.replace(report, candidates=())) == ([], [])


def test_the_table_counts_precisions_where_layers_differ(search: SearchResult) -> None:
    assert "precision" not in measured_table(search)[0]
    layers = {"a": ["4x4", 0.5, "int8"], "b": [None, 1.0, "int8"], "c": [None, 1.0]}
    known = dataclasses.replace(search.candidates[4], layers=layers)
    titles, rows = measured_table(dataclasses.replace(search, candidates=(known,)))
    assert rows[0][1][titles.index("precision")] == "int8 in 2, float32 in 1"
