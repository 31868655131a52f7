"""Results: JSON and back, the Pareto front, and the report that is made of them."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.ir.records import Region
from l0compile.measurement import Ratio
from l0compile.studies.result import Candidate, Latency, Row, SearchResult, mark_front

RESULT = SearchResult(
    title="t",
    quality_name="q",
    rows=(
        Row("dense", Latency(4.0, 3.9, 4.1), 1.0, speedup=Ratio(1.0, 1.0, 1.0)),
        Row("x", None, None, note="no such engine"),
    ),
    reference="dense",
    candidates=(
        Candidate(0, {"density.a": 0.5, "live": 0.5}, "fitted", Latency(2.0, 1.9, 2.1), 0.9, True, True),
        Candidate(1, {"density.a": 0.9}, "failed", error="BuildError: no"),
    ),
    regions=(Region("a.b", "linear", (4, 8), (4, 8), 0.5, "bsr", (4, 1), "why"),),
    budget_ms=2.5,
    facts={"machine": {"cores": 2}},
)


def test_a_result_goes_through_json_and_files(tmp_path: Path) -> None:
    assert SearchResult.from_dict(json.loads(json.dumps(RESULT.to_dict()))) == RESULT
    RESULT.save(tmp_path / "r.json")
    assert SearchResult.load(tmp_path / "r.json") == RESULT
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    assert RESULT.chosen == RESULT.candidates[0] and RESULT.row("x").note == "no such engine"


def test_a_result_from_before_rows_had_a_speedup_is_read() -> None:
    old = json.loads(json.dumps(RESULT.to_dict()))
    for row in old["rows"]:
        del row["speedup"]
    assert [row.speedup for row in SearchResult.from_dict(old).rows] == [None, None]


def test_a_candidate_keeps_its_load_and_one_of_before_has_none() -> None:
    item = Candidate(0, {}, "fitted", Latency(2.0, 1.9, 2.1), 0.9, load=Ratio(0.98, 0.97, 0.99))
    plain = json.loads(json.dumps(SearchResult("t", "q", (), "r", (item,), ()).to_dict()))
    assert SearchResult.from_dict(plain).candidates == (item,)
    del plain["candidates"][0]["load"]
    assert SearchResult.from_dict(plain).candidates[0].load is None


def test_a_collapsed_quality_is_not_on_the_front_and_is_warned_of() -> None:
    def at(number: int, ms: float, load: float, quality: float) -> Candidate:
        return Candidate(number, {}, "fitted", Latency(ms, ms, ms), quality, load=Ratio(load, load, load))

    # Milliseconds of different minutes: by load the second is the quicker one.
    found = mark_front((at(0, 1.0, 0.9, 0.8), at(1, 1.2, 0.8, 0.9), at(2, 0.2, 0.2, 0.1)), dense=0.96)
    assert [item.front for item in found] == [False, True, False]
    assert [item.front for item in mark_front(found)] == [False, True, True]

    def of(quality: float) -> SearchResult:
        rows = (Row("dense", None, 0.96), Row("chosen", None, quality, dense=False))
        return SearchResult("t", "q", rows, "dense", (), ())

    assert "collapsed: 0.1, of 0.96" in (of(0.1).warning or "")
    assert of(0.9).warning is None and SearchResult("t", "q", (), "r", (), ()).warning is None
    # A quality below zero, as a negative loss is.
    rows = (Row("dense", None, -1.0), Row("chosen", None, -1.2, dense=False))
    assert SearchResult("t", "q", rows, "dense", (), ()).warning is None


def test_numbers_that_json_lacks_become_null() -> None:
    row = Row("n", Latency(math.nan, math.inf, 1.0), 0.0)
    plain = SearchResult("t", "q", (row,), "n", (), (), None).to_dict()
    assert plain["rows"][0]["latency"] == {
        "median_ms": None,
        "low_ms": None,
        "high_ms": 1.0,
        "predicted": False,
    }
    json.dumps(plain, allow_nan=False)


def test_damaged_results_are_told(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"extra: unknown key; expected one of title, .*; run the search again"
    ):
        SearchResult.from_dict({**RESULT.to_dict(), "extra": 1})
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(DataError, match=r"r\.json: can't be read"):
        SearchResult.load(tmp_path / "r.json")
    with pytest.raises(DataError, match="no row 'y'; it has dense, x"):
        RESULT.row("y")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"rows": [{"name": 1}]}', '{"rows": [1]}', '{"rows": ["x"]}']
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError):
        SearchResult.load(tmp_path / "r.json")


def test_a_folder_without_a_result_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="l0compile search"):
        SearchResult.load(tmp_path / "r.json")


POINTS = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6), st.booleans()), max_size=12)


@given(POINTS)
def test_front_is_exactly_what_nothing_beats(points: list[tuple[int, int, bool]]) -> None:
    candidates = tuple(
        Candidate(n, {}, "fitted" if trained else "failed", Latency(ms, ms, ms), quality / 6)
        for n, (ms, quality, trained) in enumerate(points)
    )
    for marked, (ms, quality, trained) in zip(mark_front(candidates), points, strict=True):
        beaten = any(t and a <= ms and b >= quality and (a, b) != (ms, quality) for a, b, t in points)
        assert marked.front == (trained and not beaten)
