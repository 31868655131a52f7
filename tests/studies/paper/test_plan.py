"""What a paper run is asked for on the command line."""

from pathlib import Path

import pytest

from l0compile.errors import ConfigError, DataError
from l0compile.studies.paper.plan import FRACTIONS, SEEDS, SERIES, make_plan
from l0compile.studies.paper.run import claim
from l0compile.tasks import list_tasks, task_options


def test_everything_by_default() -> None:
    plan = make_plan()
    assert (plan.series, plan.seeds, plan.fractions, plan.shorten) == (SERIES, SEEDS, FRACTIONS, 1.0)
    assert plan.cells == len(SERIES) * SEEDS * (1 + len(FRACTIONS))


def test_a_quick_run_is_small() -> None:
    plan = make_plan(["adult-mlp"], quick=True)
    assert (plan.seeds, len(plan.fractions), plan.cells) == (2, 3, 8) and plan.shorten < 0.2


def test_fractions_are_sorted_and_seeds_counted() -> None:
    plan = make_plan(["adult", "adult"], seeds=1, fractions=[0.1, 0.5, 0.1])
    assert [series.name for series in plan.series] == ["adult"]
    assert plan.fractions == (0.5, 0.1)


def test_every_series_is_a_task_with_valid_options() -> None:
    assert len({series.name for series in SERIES}) == len(SERIES)
    for series in SERIES:
        assert series.task in list_tasks()
        task_options(series.task, series.options)
    for series in make_plan(quick=True).series:
        task_options(series.task, series.options)
    assert make_plan(["imdb"], quick=True).series[0].options["steps"] < 100


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"names": ["adlt"]}, "--task: expected some of adult, .*got adlt"),
        ({"seeds": 0}, "--seeds: expected at least 1, got 0"),
        ({"fractions": [0.5, 1.5]}, r"--fractions: expected numbers above 0 and at most 1, got \[1.5\]"),
        ({"fractions": [float("nan")]}, "--fractions: expected"),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make_plan(**arguments)  # type: ignore[arg-type]


def test_a_quick_run_and_a_whole_one_do_not_share_a_folder(tmp_path: Path) -> None:
    claim(make_plan(["adult"], quick=True), tmp_path)
    claim(make_plan(["adult"], quick=True, seeds=1), tmp_path)
    claim(make_plan(["cora"]), tmp_path)
    with pytest.raises(DataError, match="holds models of adult that were trained otherwise"):
        claim(make_plan(["adult", "cora"]), tmp_path)
