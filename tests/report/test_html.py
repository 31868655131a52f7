"""The page is well formed, shows every fact, fetches nothing and runs nothing."""

import base64
import dataclasses
import re

from hypothesis import given
from hypothesis import strategies as st

from l0compile.records import Region
from l0compile.report import render_page
from l0compile.report.markup import tag
from l0compile.result import SearchResult
from tests.report.page import HOSTILE, Page


def test_every_fact_is_on_the_page(report: SearchResult) -> None:
    text = " ".join(Page(render_page(report)).text)
    facts = [
        report.title,
        report.quality_name,
        "3.42×",
        "3.050 to 3.200",
        "openvino is not installed",
        "EPYC",
        "too slow",
    ]
    facts += [row.name for row in report.rows] + [region.reason for region in report.regions]
    facts += ["build: LLVM ran out of registers", "bsr 4×1", "384×384 → 320×384", "384×384 → none"]
    assert [fact for fact in facts if fact not in text] == []


def test_nothing_is_fetched_and_nothing_runs(report: SearchResult) -> None:
    page = Page(render_page(report))
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    sources = [value for key, value in page.values if key in ("src", "href")]
    assert len(sources) == 1
    assert base64.b64decode(sources[0].removeprefix("data:image/png;base64,"))[:4] == b"\x89PNG"
    assert "http://" not in render_page(report) and "https://" not in render_page(report)
    assert any(key == "content" and value.startswith("default-src 'none'") for key, value in page.values)


def test_hostile_text_stays_text_wherever_it_enters(report: SearchResult) -> None:
    plain = Page(render_page(report))
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
    page = Page(render_page(hostile))
    assert [name for name in page.tags if name not in plain.tags] == []
    assert "".join(page.text).count(HOSTILE) > 20


@given(st.text(), st.text())
def test_tag_escapes_children_and_attributes(child: str, value: str) -> None:
    made = tag("p", child, title=value)
    assert not re.search(r"[<>]", made.removeprefix("<p").removesuffix("</p>").replace(">", "", 1))
    parsed = Page(str(made))
    assert parsed.tags == ["p"]
    assert "".join(parsed.text) == child
    assert parsed.values == [("title", value)]


def test_a_report_of_nothing_still_renders(report: SearchResult) -> None:
    empty = dataclasses.replace(report, rows=(), candidates=(), regions=(), budget_ms=None, facts={})
    assert "Nothing was recorded." in " ".join(Page(render_page(empty)).text)
