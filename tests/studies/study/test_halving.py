"""Successive halving: who goes on, for how long, from where, and what a search that goes on does again."""

import dataclasses
import time
from pathlib import Path

import pytest
import torch
from instant import FormulaFitter, make_fitter
from test_explore import evaluator, exploring, fitter

from l0compile.pruning.masks import live_mask
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.winner import train_winner
from l0compile.studies.study.halving import halve

__all__ = ["evaluator", "fitter"]  # fixtures


def finalists(fitter: FormulaFitter, out: Path, count: int, seconds: float = 3600) -> Exploration:
    exploration = exploring(fitter, out, count**2 + 4, finalists=count)
    exploration.run_trials()
    exploration.run_finalists()
    assert len(exploration.finalists) == count
    exploration.clock = dataclasses.replace(exploration.clock, seconds=seconds)
    return exploration


def losses(fitter: FormulaFitter) -> int:
    return fitter.evaluator.task.losses  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(("count", "rounds"), [(2, [1, 1]), (3, [1, 2, 2]), (5, [1, 1, 2, 3, 3])])
def test_the_better_half_goes_on_with_twice_the_steps(
    fitter: FormulaFitter, tmp_path: Path, count: int, rounds: list[int]
) -> None:
    exploration = finalists(fitter, tmp_path, count)
    first = {item.trial.number: item.qualities[0] for item in exploration.finalists}
    before = losses(fitter)
    halve(exploration)
    found = exploration.finalists
    assert sorted(len(item.qualities) for item in found) == rounds
    steps = fitter.evaluator.space.training.candidate_steps
    assert losses(fitter) - before == steps * sum(2**n for count in rounds for n in range(1, count))
    assert {item.trial.number: item.qualities[0] for item in found} == first
    for number in range(1, max(rounds)):
        on = [item.qualities[number - 1] for item in found if len(item.qualities) > number]
        out = [item.qualities[-1] for item in found if len(item.qualities) == number]
        assert not on or min(on) >= max(out)
    winner = exploration.winner()
    assert winner is not None and len(winner.qualities) == max(rounds)
    assert winner.quality == max(item.quality for item in found if len(item.qualities) == max(rounds))


def test_each_round_and_the_winner_begin_where_the_last_round_ended(
    fitter: FormulaFitter, tmp_path: Path
) -> None:
    exploration = finalists(fitter, tmp_path, 3)
    halve(exploration)
    winner = exploration.winner()
    assert winner is not None
    model = exploration.brief.model(winner.fitted)
    assert fitter.evaluator.task.quality(model, "validation") == winner.quality
    solved = fitter.evaluator.realised(winner.fitted.plan)
    fitter.evaluator.solve(solved)
    for name, level in winner.fitted.plan.layers.items():
        if name not in fitter.evaluator.menu.parts and level.block is not None:
            one, other = model.get_submodule(name), solved.get_submodule(name)
            assert torch.equal(live_mask(one), live_mask(other))  # type: ignore[arg-type]
    assert fitter.evaluator.task.quality(solved, "validation") != winner.quality
    kept = {file.name for file in exploration.brief.folder.iterdir()}
    assert kept == {
        f"{i.fitted.structure}-brief.safetensors" for i in exploration.finalists if i.qualities[1:]
    }


def test_a_search_that_goes_on_repeats_no_round(fitter: FormulaFitter, tmp_path: Path) -> None:
    first = finalists(fitter, tmp_path, 3)
    halve(first)
    again = exploring(make_fitter(fitter.evaluator, tmp_path, 0.7), tmp_path, 9, resume=True)
    again.restore()
    before = losses(fitter)
    halve(again)
    assert again.finalists == first.finalists and losses(fitter) == before


def test_an_unreadable_file_means_the_weights_by_least_squares(
    fitter: FormulaFitter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exploration = finalists(fitter, tmp_path, 1)
    (finalist,), (file,) = exploration.finalists, exploration.brief.folder.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    model = exploration.brief.model(finalist.fitted)
    assert "can't be read" in caplog.text
    solved = fitter.evaluator.realised(finalist.fitted.plan)
    fitter.evaluator.solve(solved)
    assert fitter.evaluator.task.quality(model, "validation") == pytest.approx(
        fitter.evaluator.task.quality(solved, "validation"), abs=1e-6
    )


def test_without_time_there_is_one_round(fitter: FormulaFitter, tmp_path: Path) -> None:
    exploration = finalists(fitter, tmp_path, 3, seconds=0.0)
    halve(exploration)
    assert [len(item.qualities) for item in exploration.finalists] == [1, 1, 1]


def test_what_misses_the_budget_or_has_another_does_not_take_part(
    fitter: FormulaFitter, tmp_path: Path
) -> None:
    exploration = finalists(fitter, tmp_path, 4)
    one, two, three, four = exploration.finalists
    slow = dataclasses.replace(two, fitted=dataclasses.replace(two.fitted, load=1.2))
    exploration.finalists = [one, slow, three, dataclasses.replace(four, wanted=0.8)]
    halve(exploration)
    assert [len(item.qualities) for item in exploration.finalists] == [1, 1, 1, 1]


def test_finalists_of_one_structure_are_one(
    fitter: FormulaFitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exploration = finalists(fitter, tmp_path, 2)
    before = losses(fitter)
    monkeypatch.setattr(fitter, "fit", lambda *_, **__: exploration.finalists[0].fitted)
    twin = exploration.fit(exploration.finalists[0].trial, 1.0)
    assert twin is not None and twin.qualities == exploration.finalists[0].qualities
    halve(exploration)
    assert losses(fitter) == before  # two structures: nobody to rule out


def test_training_that_makes_it_worse_is_undone(
    fitter: FormulaFitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = fitter.evaluator
    training = dataclasses.replace(evaluator.space.training, weight_rate=100.0)
    monkeypatch.setattr(evaluator, "space", dataclasses.replace(evaluator.space, training=training))
    exploration = finalists(fitter, tmp_path, 1)
    (finalist,) = exploration.finalists
    solved = evaluator.realised(finalist.fitted.plan)
    evaluator.solve(solved)
    quality = evaluator.task.quality(solved, "validation")
    assert finalist.qualities == (pytest.approx(quality, abs=1e-6),)
    notes: list[str] = []
    exploration.progress.note = notes.append  # type: ignore[method-assign]
    winner = train_winner(exploration, finalist, time.monotonic() + 60.0)
    assert list(winner.history) == ["weights (undone)"] and winner.history["weights (undone)"].steps > 0
    assert evaluator.task.quality(winner.model, "validation") == pytest.approx(quality, abs=1e-6)
    assert any("training made it worse" in note for note in notes)
