"""The page says all that the explanation says, is well formed, fetches nothing and runs only its own sorting."""

import base64
import dataclasses
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.ir.records import EngineChoice, Operator, PassRecord, Region, StageRecord
from l0compile.report.pages.explanation_page import render_explanation
from l0compile.runtime.account import Explanation, FunctionTime, Profile
from l0compile.runtime.account.predicted import PredictedPart, PredictedTime
from tests.report.page import HOSTILE, Page


def explained(name: str = "up", text: str = "a quarter of the blocks") -> Explanation:
    operator = Operator("n", f"aten.{name}", f"{name}.py:7", text)
    functions = (
        FunctionTime("linear_0", "kernel", name, name, 2.0),
        FunctionTime(f"fused_{name}", "ordinary", None, None, 1.0),
        FunctionTime("island_0", "island", None, f"{name}.py:7", 0.5),
    )
    return Explanation(
        (Region(name, "linear", (64, 32), (64, 32), 0.25, "bsr", (4, 1), text, 0.25),),
        (PassRecord(name, 3, 0.25),),
        {"checked": True, "max_difference": 1e-7, "tolerance": 2e-5, "inputs": 1},
        {f"aten.{name}": 4},
        stages=(StageRecord("torch", (operator,), text),),
        choice=EngineChoice("tvm", text),
        sizes=(text,),
        profile=Profile({name: 3}, 2, 4.0, functions),
    )


def test_every_fact_is_on_the_page() -> None:
    text = " ".join(" ".join(Page(render_explanation(explained(), "my model")).text).split())
    facts = [
        "my model",
        "at most 5.00 times as fast",
        "up",
        "64×32",
        "25 %",
        "bsr 4×1",
        "8.000",
        "2.000",
        "80.0 %",
    ]
    facts += [
        "linear_0",
        "fused_up",
        "aten.up",
        "up.py:7",
        "12% of a call",
        "gated within 1.0e-07",
        "2 thread(s)",
    ]
    assert [fact for fact in facts if fact not in text] == []


def test_without_times_the_page_has_the_decisions() -> None:
    bare = dataclasses.replace(explained(), profile=None)
    text = " ".join(Page(render_explanation(bare, "m")).text)
    assert "bsr 4×1" in text and "aten.up" in text and "dense ms" not in text


def test_nothing_is_fetched_and_only_the_sorting_runs() -> None:
    made = render_explanation(explained(), "m")
    page = Page(made)
    assert not {"link", "iframe", "object", "img"} & set(page.tags)
    assert not [value for key, value in page.values if key in ("src", "href") or key.startswith("on")]
    assert "http://" not in made and "https://" not in made
    (script,) = re.findall(r"<script>(.*?)</script>", made, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(value for key, value in page.values if key == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize("text", [HOSTILE, "名前", "", "x" * 400])
def test_odd_text_stays_text(text: str) -> None:
    plain, odd = (
        Page(render_explanation(explained(), "m")),
        Page(render_explanation(explained(text, text), text)),
    )
    assert odd.tags == plain.tags
    assert "".join(odd.text).count(text) > 8


def test_numbers_sort_as_numbers() -> None:
    values = [
        float(value) for key, value in Page(render_explanation(explained(), "m")).values if key == "data-v"
    ]
    assert 0.25 in values and 2.0 in values and 8.0 in values


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")))
def test_any_text_is_escaped(text: str) -> None:
    bare = Page(render_explanation(explained(), "m"))
    page = Page(render_explanation(explained(text, text), text))
    assert page.tags == bare.tags and "".join(page.text).count(text) > 8


def test_a_predicted_time_says_so_at_each_number() -> None:
    parts = (PredictedPart("up", 0.25, "memory"), PredictedPart("norm", 0.05, "launch", 3))
    predicted = PredictedTime("Some Card", 0.15, 0.3, 0.6, parts)
    made = dataclasses.replace(explained(), profile=None, predicted=predicted)
    text = " ".join(" ".join(Page(render_explanation(made, "my model")).text).split())
    assert "predicted 0.3 ms [0.15, 0.6] on Some Card; nothing was measured." in text
    assert "predicted 0.2500" in text and "predicted 0.0500" in text and "waits for" in text
