"""Columns: those that matter stay, seeds are compared, and what is wrong is named."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import ConfigError
from l0compile.tasks import AdultOptions, AdultTask, ColumnSelection, select_columns
from tests.tasks.adult.people import write_people
from tests.tasks.points import Points


def selection(masks: list[tuple[int, ...]]) -> ColumnSelection:
    names = tuple(f"c{place}" for place in range(len(masks[0])))
    return ColumnSelection(
        names, tuple(tuple(map(float, mask)) for mask in masks), (1.0,) * len(masks), (1.0,) * len(masks)
    )


def test_education_and_gains_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path / "cache"))
    folder = write_people(tmp_path / "adult", training=1500)
    task = AdultTask(AdultOptions(model="mlp", width=32, epochs=100), folder)
    found = select_columns(task, 4, seeds=2)
    kept = [{name for name, value in zip(found.columns, of, strict=True) if value} for of in found.values]
    assert all(
        len(each) == 4 and "capital-gain" in each and {"education", "education-num"} & each for each in kept
    )
    assert min(found.qualities) > min(found.dense) - 0.05


def test_agreement() -> None:
    same, other = (1, 1, 0, 0), (0, 0, 1, 1)
    assert selection([same, same]).stability == selection([same, same]).overlap == 1.0
    assert (
        selection([same, other]).stability == pytest.approx(-1.0) and selection([same, other]).overlap == 0.0
    )
    assert selection([same]).stability is None and selection([same]).overlap is None
    assert selection([(1, 1), (1, 1)]).stability is None
    assert selection([same, (1, 0, 1, 0)]).share == (1.0, 0.5, 0.5, 0.0)
    assert selection([same, (1, 0, 1, 0)]).overlap == pytest.approx(1 / 3)


def test_all_choices_together_are_chance() -> None:
    every = [mask for mask in product((0, 1), repeat=4) if sum(mask) == 2]
    assert selection(every).stability == pytest.approx(-1 / (len(every) - 1))


@given(st.lists(st.tuples(*[st.integers(0, 1)] * 5), min_size=2, max_size=6))
def test_stability_is_at_most_1(masks: list[tuple[int, ...]]) -> None:
    found = selection(masks).stability
    assert found is None or found <= 1.0 + 1e-9
    assert (found == 1.0) <= (len(set(masks)) == 1)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"expected a task with the attributes columns and column_vectors, .*got Points"
    ):
        select_columns(Points(), 2)
    task = AdultTask(AdultOptions(), write_people(tmp_path / "adult"))
    for keep, seeds in ((0, 1), (15, 1), (3, 0)):
        with pytest.raises(ConfigError, match="expected to keep 1 to 14 columns with 1 seed or more"):
            select_columns(task, keep, seeds=seeds)
