"""The page is well formed, shows every fact, fetches nothing and runs nothing."""

import dataclasses
import re

from l0compile.ir.records import Region
from l0compile.report.pages.search_page import render_search
from l0compile.studies.result import PHASE_SECONDS, SearchResult
from tests.report.page import HOSTILE, Page


def test_every_fact_is_on_the_page(report: SearchResult) -> None:
    text = " ".join(Page(render_search(report)).text)
    facts = [
        report.title,
        report.quality_name,
        "3.42× [3.38, 3.50]",
        "3.050 to 3.200",
        "openvino is not installed",
        "EPYC",
        "too slow",
    ]
    facts += [row.name for row in report.rows] + [region.reason for region in report.regions]
    facts += ["build: LLVM ran out of registers", "bsr 4×1", "384×384 → 320×384", "384×384 → none"]
    facts += [str(item) for item in report.asked]
    assert [fact for fact in facts if fact not in text] == []


def test_facts_are_words_and_no_code(report: SearchResult) -> None:
    facts = {"model": {"compiled = gated": {"checked": True, "max_difference": 1.25e-06}, "cores": [1, 2]}}
    text = " ".join(Page(render_search(dataclasses.replace(report, facts=facts))).text)
    assert "checked yes, max difference 1.25e-06" in text and "1, 2" in text
    assert not re.search(r"[{\[]|True|None|Record\(", text.partition("How it was measured")[2])


def test_the_page_shows_where_the_time_went(report: SearchResult) -> None:
    spent = {PHASE_SECONDS: {"pruning every layer": 30.4, "trials": 90.4}}
    text = " ".join(Page(render_search(dataclasses.replace(report, facts=spent))).text)
    place = text.partition("Where the time went")[2]
    assert re.search(r"pruning every layer\s+30\s+25 %\s+trials\s+90\s+75 %", place)
    assert "Where the time went" not in " ".join(
        Page(render_search(dataclasses.replace(report, facts={}))).text
    )


def test_a_quality_that_has_collapsed_is_said_on_the_page(report: SearchResult) -> None:
    assert "collapsed" not in " ".join(Page(render_search(report)).text)
    rows = (*report.rows[:-1], dataclasses.replace(report.rows[-1], quality=0.1))
    items = tuple(dataclasses.replace(item, quality=item.quality and 0.1) for item in report.candidates)
    text = " ".join(Page(render_search(dataclasses.replace(report, rows=rows, candidates=items))).text)
    assert "WARNING: the quality has collapsed: 0.1, of 1 of the dense model" in text
    assert "chosen, before its training; quality collapsed" in text


def test_nothing_is_fetched_and_nothing_runs(search: SearchResult) -> None:
    page = Page(render_search(search))
    assert not {"script", "link", "iframe", "object", "img", "image"} & set(page.tags)
    assert not [value for key, value in page.values if key == "src" or key.startswith("on")]
    # Pictures use their own marks and clips, and those of no other picture.
    names = [value for key, value in page.values if key == "id"]
    links = {value for key, value in page.values if key in ("href", "xlink:href")}
    assert len(set(names)) == len(names) and links <= {f"#{name}" for name in names}
    assert "http://" not in render_search(search) and "https://" not in render_search(search)
    assert any(key == "content" and value.startswith("default-src 'none'") for key, value in page.values)


def test_every_picture_is_told_in_words(search: SearchResult) -> None:
    page = Page(render_search(search))
    labels = [value for key, value in page.values if key == "aria-label"]
    assert len(labels) == page.tags.count("svg") == 6
    for told in (
        "4 measured candidates, with a budget of 4 ms: 3 on the Pareto front",
        "2 of 4 candidates met their budget, with 0.800 to 1.058 of it",
        "Predictions of 4 candidates were 2.0 % off",
        "The best one is #1: weight.up 0.25, tilt.down -1.5",
    ):
        assert any(told in label for label in labels), told


def test_a_result_of_earlier_versions_has_what_it_knows(report: SearchResult) -> None:
    text = " ".join(Page(render_search(report)).text)
    assert "Latency against quality" in text and "2.600" in text
    for title in ("Budgets and predictions", "Densities and block shapes", "Block shapes for", "predicted"):
        assert title not in text


def test_candidates_have_a_column_for_each_choice(search: SearchResult) -> None:
    page = render_search(search)
    table = page[page.index("<h2>Candidates") :]
    heads = re.findall(r"<th>(.*?)</th>", table)
    assert heads[-3:] == ["weight.up", "tilt.down", "live"]
    cells = [
        re.findall(r"<td[^>]*>(.*?)</td>", row)
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.DOTALL)[1:9]
    ]
    assert [row[heads.index("weight.up")] for row in cells] == [
        "1",
        "0.25",
        "4",
        "2",
        "0.25",
        "4",
        "0.25",
        "0.25",
    ]
    assert cells[3][1] == "failed: BuildError: no registers"
    assert [row[heads.index("latency")] for row in cells][:4] == ["not measured"] * 4


def test_hostile_text_stays_text_wherever_it_enters(report: SearchResult) -> None:
    plain = Page(render_search(report))
    hostile = dataclasses.replace(
        report,
        title=HOSTILE,
        quality_name=HOSTILE,
        reference=HOSTILE,
        rows=tuple(dataclasses.replace(row, name=HOSTILE, note=HOSTILE) for row in report.rows),
        candidates=tuple(
            dataclasses.replace(item, choices={HOSTILE: HOSTILE}, outcome=HOSTILE, error=HOSTILE)
            for item in report.candidates
        ),
        regions=tuple(
            Region(HOSTILE, HOSTILE, (1,), (2,), 0.5, HOSTILE, None, HOSTILE)  # type: ignore[arg-type]
            for _ in report.regions
        ),
        facts={
            HOSTILE: {HOSTILE: HOSTILE},
        },
    )
    page = Page(render_search(hostile))
    assert [name for name in page.tags if name not in plain.tags] == []
    assert "".join(page.text).count(HOSTILE) > 20


def test_hostile_names_of_layers_blocks_and_values_stay_text(search: SearchResult) -> None:
    plain = Page(render_search(search))
    items = tuple(
        dataclasses.replace(
            item,
            layers={f"{name}.{HOSTILE}": [HOSTILE, density] for name, (_, density) in item.layers.items()},
            choices={f"weight.{HOSTILE}": 1.0 + item.number, "tilt.x": 0.5},
        )
        for item in search.candidates
    )
    facts = {"machine": {"fingerprint": {"model": HOSTILE}}}
    page = Page(render_search(dataclasses.replace(search, candidates=items, facts=facts)))
    assert set(page.tags) <= set(plain.tags)
    text = "".join(page.text)
    assert text.count(HOSTILE) > 30


def test_a_report_of_nothing_still_renders(report: SearchResult) -> None:
    empty = dataclasses.replace(report, rows=(), candidates=(), regions=(), budget_ms=None, facts={})
    assert "Nothing was recorded." in " ".join(Page(render_search(empty)).text)
