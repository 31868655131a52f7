"""Successive halving: who goes on, for how long, from where, and what a search that goes on does again."""

import dataclasses
import time
from pathlib import Path

import pytest
import torch
from driven import TRIALS, Driven, searching
from instant import FormulaFitter, make_fitter

from l0compile.studies.explore.finalists import fit_finalist, fit_finalists, restore_finalists
from l0compile.studies.explore.racing import race_finalists
from l0compile.studies.finish.winner import train_winner
from l0compile.studies.pruning.masks import live_mask


def finalists(fitter: FormulaFitter, out: Path, count: int, seconds: float = 3600) -> Driven:
    search = searching(fitter, out, count**2 + 4, finalists=count)
    search.run(*TRIALS)
    search.run(fit_finalists)
    assert len(search.finalists) == count
    search.change(clock=dataclasses.replace(search.context.clock, seconds=seconds))
    return search


def losses(fitter: FormulaFitter) -> int:
    return fitter.evaluator.task.losses  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(("count", "rounds"), [(2, [1, 1]), (3, [1, 2, 2]), (5, [1, 1, 2, 3, 3])])
def test_the_better_half_goes_on_with_twice_the_steps(
    fitter: FormulaFitter, tmp_path: Path, count: int, rounds: list[int]
) -> None:
    search = finalists(fitter, tmp_path, count)
    first = {item.trial.number: item.qualities[0] for item in search.finalists}
    before = losses(fitter)
    search.run(race_finalists)
    found = search.finalists
    assert sorted(len(item.qualities) for item in found) == rounds
    steps = fitter.evaluator.space.training.candidate_steps
    assert losses(fitter) - before == steps * sum(2**n for count in rounds for n in range(1, count))
    assert {item.trial.number: item.qualities[0] for item in found} == first
    for number in range(1, max(rounds)):
        on = [item.qualities[number - 1] for item in found if len(item.qualities) > number]
        out = [item.qualities[-1] for item in found if len(item.qualities) == number]
        assert not on or min(on) >= max(out)
    winner = search.best
    assert len(winner.qualities) == max(rounds)
    assert winner.quality == max(item.quality for item in found if len(item.qualities) == max(rounds))


def test_each_round_and_the_winner_begin_where_the_last_round_ended(
    fitter: FormulaFitter, tmp_path: Path
) -> None:
    search = finalists(fitter, tmp_path, 3)
    search.run(race_finalists)
    winner = search.best
    model = search.context.brief.model(winner.fitted)
    assert fitter.evaluator.task.quality(model, "validation") == winner.quality
    solved = fitter.evaluator.realised(winner.fitted.allocation)
    fitter.evaluator.solve(solved)
    for name, level in winner.fitted.allocation.layers.items():
        if name not in fitter.evaluator.menu.units and level.block is not None:
            one, other = model.get_submodule(name), solved.get_submodule(name)
            assert torch.equal(live_mask(one), live_mask(other))  # type: ignore[arg-type]
    assert fitter.evaluator.task.quality(solved, "validation") != winner.quality
    kept = {file.name for file in search.context.brief.folder.iterdir()}
    assert kept == {f"{i.fitted.structure}-brief.safetensors" for i in search.finalists if i.qualities[1:]}


def test_a_search_that_goes_on_repeats_no_round(fitter: FormulaFitter, tmp_path: Path) -> None:
    first = finalists(fitter, tmp_path, 3)
    first.run(race_finalists)
    again = searching(make_fitter(fitter.evaluator, tmp_path, 0.7), tmp_path, 9, resume=True)
    again.run(restore_finalists)
    before = losses(fitter)
    again.run(race_finalists)
    assert again.finalists == first.finalists and losses(fitter) == before


def test_an_unreadable_file_means_the_weights_by_least_squares(
    fitter: FormulaFitter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    search = finalists(fitter, tmp_path, 1)
    (finalist,), (file,) = search.finalists, search.context.brief.folder.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    model = search.context.brief.model(finalist.fitted)
    assert "can't be read" in caplog.text
    solved = fitter.evaluator.realised(finalist.fitted.allocation)
    fitter.evaluator.solve(solved)
    assert fitter.evaluator.task.quality(model, "validation") == pytest.approx(
        fitter.evaluator.task.quality(solved, "validation"), abs=1e-6
    )


def test_without_time_there_is_one_round(fitter: FormulaFitter, tmp_path: Path) -> None:
    search = finalists(fitter, tmp_path, 3, seconds=0.0)
    search.run(race_finalists)
    assert [len(item.qualities) for item in search.finalists] == [1, 1, 1]


def test_what_misses_the_budget_or_has_another_does_not_take_part(
    fitter: FormulaFitter, tmp_path: Path
) -> None:
    search = finalists(fitter, tmp_path, 4)
    one, two, three, four = search.finalists
    slow = dataclasses.replace(two, fitted=dataclasses.replace(two.fitted, load=1.2))
    search.finalists = (one, slow, three, dataclasses.replace(four, wanted=0.8))
    search.run(race_finalists)
    assert [len(item.qualities) for item in search.finalists] == [1, 1, 1, 1]


def test_finalists_of_one_structure_are_one(
    fitter: FormulaFitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = finalists(fitter, tmp_path, 2)
    before = losses(fitter)
    monkeypatch.setattr(fitter, "fit", lambda *_, **__: search.finalists[0].fitted)
    search.state, twin = fit_finalist(search.context, search.state, search.finalists[0].trial, 1.0)
    assert twin is not None and twin.qualities == search.finalists[0].qualities
    search.run(race_finalists)
    assert losses(fitter) == before  # two structures: nobody to rule out


def test_training_that_makes_it_worse_is_undone(
    fitter: FormulaFitter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluator = fitter.evaluator
    away = type(evaluator.task).loss
    monkeypatch.setattr(type(evaluator.task), "loss", lambda *given: -away(*given))
    search = finalists(fitter, tmp_path, 1)
    (finalist,) = search.finalists
    solved = evaluator.realised(finalist.fitted.allocation)
    evaluator.solve(solved)
    quality = evaluator.task.quality(solved, "validation")
    assert finalist.qualities == (pytest.approx(quality, abs=1e-6),)
    notes: list[str] = []
    search.context.progress.note = notes.append  # type: ignore[method-assign]
    _, winner = train_winner(search.context, search.state, finalist, time.monotonic() + 60.0)
    assert list(winner.history) == ["weights (undone)"] and winner.history["weights (undone)"].steps > 0
    assert evaluator.task.quality(winner.model, "validation") == pytest.approx(quality, abs=1e-6)
    assert any("training made it worse" in note for note in notes)
