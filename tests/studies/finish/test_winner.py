"""The winner with narrow layers: trained in float32, rounded, and trained on with its zeros and rounding in place."""

import dataclasses
from pathlib import Path

import pytest
import torch
from driven import TRIALS, Driven, driven
from instant import make_evaluator, make_fitter

from l0compile.quantization import QuantizedLinear
from l0compile.studies.explore.finalists import fit_finalists, restore_finalists
from l0compile.studies.finish.choose import train_chosen
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.pruning.masks import linear_layers, live_mask
from l0compile.studies.space.space import Space


@pytest.fixture(scope="module")
def evaluator(narrow_space: Space, tmp_path_factory: pytest.TempPathFactory) -> Evaluator:
    return make_evaluator(narrow_space, tmp_path_factory.mktemp("winner"))


def search(evaluator: Evaluator, out: Path, resume: bool = False) -> Driven:
    effort = dataclasses.replace(evaluator.space.effort, trials=1, finalists=1)
    return driven(make_fitter(evaluator, out, share=0.45), out, resume=resume, effort=effort)


def test_the_winner_is_rounded_and_its_zeros_stay(evaluator: Evaluator, tmp_path: Path) -> None:
    found = search(evaluator, tmp_path)
    found.run(*TRIALS, fit_finalists, train_chosen)
    winner = found.state.winner
    assert winner is not None and winner.final is winner.rounded is not None
    allocation = winner.finalist.fitted.allocation
    assert "int8" in allocation.precisions.values()
    assert {name.partition(" (")[0] for name in winner.history} == {"weights", "rounded weights"}
    for name, precision in allocation.precisions.items():
        layer = winner.final.get_submodule(name)
        if precision == "int8":
            assert isinstance(layer, QuantizedLinear)
            closed = ~live_mask(linear_layers(winner.model, [name])[name])
            assert bool((layer.rounded[closed] == 0).all())
    rounded = evaluator.rounded(winner.model, allocation, "compensated")
    quality = evaluator.task.quality
    assert quality(winner.final, "validation") >= quality(rounded, "validation") - 1e-3


def test_precisions_survive_a_restart(evaluator: Evaluator, tmp_path: Path) -> None:
    first = search(evaluator, tmp_path)
    first.run(*TRIALS, fit_finalists)
    again = search(evaluator, tmp_path, resume=True)
    again.run(restore_finalists)
    (before,), (after,) = first.finalists, again.finalists
    assert dict(after.fitted.allocation.layers) == dict(before.fitted.allocation.layers)
    assert after.fitted.structure == before.fitted.structure
    with torch.no_grad():
        assert again.context.evaluator.task.quality(again.context.brief.model(after.fitted), "validation") > 0
