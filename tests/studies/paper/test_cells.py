"""Cells on disk: what is there is not repeated, what is missing is made, and the tables add it up."""

import json
from pathlib import Path

import pytest
import torch

from l0compile.calibration import ece, fit_temperature
from l0compile.errors import ConfigError, DataError, StorageError
from l0compile.studies.paper.cell import cell_name, load_cell, load_logits, run_cells
from l0compile.studies.paper.plan import PaperPlan, Series
from l0compile.studies.paper.result import Paper, Spread, summarise
from l0compile.studies.paper.run import run_paper
from tests.tasks.points import Points

POINTS = Path(__file__).parents[2] / "tasks" / "points.py"
SERIES = Series("points", "Points in corners", f"{POINTS}:Points", note="Made up.")
PLAN = PaperPlan((SERIES,), seeds=2, fractions=(1.0, 0.25))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paper")
    patch = pytest.MonkeyPatch()
    patch.setenv("L0COMPILE_CACHE", str(root / "cache"))
    for seed in range(PLAN.seeds):
        run_cells(PLAN, SERIES, seed, root / "cells")
    patch.undo()
    return root


def test_each_cell_has_facts_and_logits(folder: Path) -> None:
    task = Points()
    for seed in (0, 1):
        for fraction, active in ((None, 1.0), (1.0, 1.0), (0.25, 0.25)):
            name = cell_name("points", seed, fraction)
            cell, logits = load_cell(folder / "cells", name), load_logits(folder / "cells", name)
            assert (cell.seed, cell.fraction, cell.active) == (seed, fraction, active)
            right = (logits["held_out"].argmax(1) == task.labels("held_out")).double().mean()
            assert cell.accuracy == float(right) > 0.7
            assert len(logits["validation"]) == len(task.labels("validation"))
            compiled = seed == 0
            assert (cell.flips == 0, cell.size is not None) == (compiled, compiled)
    assert not any((folder / "cells" / "unfinished").iterdir())  # the folder is made, and emptied


def test_what_is_there_is_not_repeated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", str(folder / "cache"))
    told: list[str] = []
    run_cells(PLAN, SERIES, 0, folder / "cells", told.append)
    assert told == []
    file = folder / "cells" / "points-seed1-0.25.json"
    before = file.read_text()
    logits = load_logits(folder / "cells", "points-seed1-0.25")
    file.unlink()
    run_cells(PLAN, SERIES, 1, folder / "cells", told.append)
    assert told == ["points-seed1-0.25"]
    again = load_logits(folder / "cells", "points-seed1-0.25")
    assert all(torch.equal(value, again[part]) for part, value in logits.items())
    kept = json.loads(before)["accuracy"]
    assert load_cell(folder / "cells", "points-seed1-0.25").accuracy == pytest.approx(kept)


def test_the_table_adds_seeds_up(folder: Path, tmp_path: Path) -> None:
    table = summarise(PLAN, SERIES, folder / "cells")
    assert [row.fraction for row in table.rows] == [None, 1.0, 0.25]
    accuracies = [load_cell(folder / "cells", cell_name("points", seed, 0.25)).accuracy for seed in (0, 1)]
    assert table.rows[2].raw["accuracy"] == table.rows[2].scaled["accuracy"] == Spread.of(accuracies)
    logits, task = load_logits(folder / "cells", "points-seed0-dense"), Points()
    temperature = fit_temperature(logits["validation"], task.labels("validation"))
    other = load_logits(folder / "cells", "points-seed1-dense")
    second = fit_temperature(other["validation"], task.labels("validation"))
    both = ((temperature, logits), (second, other))
    expected = [ece(t.apply(each["held_out"]), task.labels("held_out")) for t, each in both]
    assert table.rows[0].scaled["ECE"] == Spread.of(expected)
    dense, _, gated = (row.raw["accuracy"].mean for row in table.rows)
    assert table.difference["accuracy"].mean == pytest.approx(gated - dense)
    assert [report.name for report in table.reports] == ["dense", "25% of the features"]
    paper = Paper((table,), 2, 1.0, {"imdb": "no data"}, {"machine": "this one"})
    paper.save(tmp_path / "paper.json")
    assert Paper.load(tmp_path / "paper.json") == paper


def test_a_missing_paper_and_a_missing_cell(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected the result of a paper run"):
        Paper.load(tmp_path / "paper.json")
    with pytest.raises(StorageError, match="points-seed0-dense"):
        summarise(PLAN, SERIES, tmp_path)


def test_series_that_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("L0COMPILE_DATA", raising=False)
    with pytest.raises(DataError, match=r"none of the series can run here: .*adult\.data"):
        run_paper(PaperPlan((Series("adult", "Adult", "adult"),)), tmp_path)
    with pytest.raises(ConfigError, match="expected a task with labels, got SentenceTask"):
        Series("minilm", "MiniLM", "sentence-embedding").load()


@pytest.mark.slow
def test_the_whole_run_with_real_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.tasks.adult.people import write_people

    write_people(tmp_path / "data" / "adult")
    monkeypatch.setenv("L0COMPILE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path / "cache"))
    series = Series("adult-mlp", "Adult", "adult", {"model": "mlp", "width": 32, "epochs": 2})
    told: list[str] = []
    plan = PaperPlan((series, SERIES), seeds=2, fractions=(0.25,))
    paper = run_paper(plan, tmp_path / "out", told.append)
    assert [table.name for table in paper.tables] == ["adult-mlp", "points"]
    timing = paper.tables[0].rows[1].timing
    assert timing is not None and timing.ms is not None and timing.faster is not None
    assert any("8 of 8" in line for line in told)
    assert run_paper(plan, tmp_path / "out", told.append).tables == paper.tables
