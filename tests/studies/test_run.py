"""A whole search on a tiny transformer: real compiler, real processes, real study."""

import dataclasses
import io
import os
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from instant import MaskFitter
from tiny_task import TinyOptions, TinyTask

import l0compile as l0
from l0compile.cli import main
from l0compile.errors import ConfigError, DataError, GateError, MissingDependency
from l0compile.hardware.targets import load_target
from l0compile.measurement import Ratio
from l0compile.studies.bench.bench import Bench
from l0compile.studies.bench.engines import CHOSEN, DENSE, NARROW, PYTORCH, ROW_OF
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.fit.evaluate import Evaluator
from l0compile.studies.result import Candidate, SearchResult
from l0compile.studies.run import run_search
from l0compile.studies.setup import legal_shapes
from l0compile.studies.space.space import Space
from l0compile.studies.study.progress import Silent
from l0compile.studies.workers.worker import DRAWS

SPACE = Path(__file__).parent / "tiny.toml"


class Recorded(Silent):
    """Remembers what it is told, in place of the bar of the command."""

    def __init__(self, seconds: float = 0) -> None:
        self.phases: list[str] = []
        self.told: list[Candidate] = []

    def __enter__(self) -> "Recorded":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def candidate(self, candidate: Candidate, best: Candidate | None) -> None:
        self.told.append(candidate)


@dataclass(frozen=True)
class Finished:
    """What the command leaves, prints and tells on the way."""

    result: SearchResult
    out: Path
    printed: str
    progress: Recorded


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out, printed = tmp_path_factory.mktemp("search"), io.StringIO()
    progress = Recorded()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr("l0compile.studies.entry.RichProgress", lambda seconds: progress)
        assert main(["search", str(SPACE), "--out", str(out), "--quick"]) == 0
    return Finished(SearchResult.load(out / "result.json"), out, printed.getvalue(), progress)


def test_the_command_leaves_artifact_study_and_report(finished: Finished) -> None:
    for name in ("model/manifest.json", "study.sqlite", "report.html", "pareto.png", "regions.png"):
        assert (finished.out / name).stat().st_size > 0, name
    for row in (PYTORCH, DENSE, CHOSEN):
        assert row in finished.printed
    # What was only needed on the way is gone, and what was asked for stands at the end of what is printed.
    assert not (finished.out / "work").exists()
    assert finished.printed.strip().splitlines()[-1] == str(finished.result.asked[-1])


def test_the_table_has_every_engine_and_the_choice(finished: Finished) -> None:
    result = finished.result
    assert [row.name for row in result.rows] == [
        PYTORCH,
        ROW_OF["onnxruntime"],
        ROW_OF["openvino"],
        DENSE,
        CHOSEN,
    ]
    for name in (PYTORCH, DENSE, CHOSEN):
        latency = result.row(name).latency
        assert latency is not None and 0 < latency.low_ms <= latency.median_ms <= latency.high_ms
    assert result.reference == PYTORCH
    assert result.row(PYTORCH).speedup == Ratio(1.0, 1.0, 1.0)
    speedup = result.row(CHOSEN).speedup
    assert speedup is not None and 0 < speedup.low <= speedup.value <= speedup.high
    chosen = result.row(CHOSEN)
    assert not chosen.dense and chosen.quality is not None and 0.9 < chosen.quality <= 1.0


def test_what_was_asked_is_told(finished: Finished) -> None:
    (asked,) = finished.result.asked
    assert asked.met and asked.what == "latency of at most 1000 ms"
    assert str(asked) in finished.printed


def test_trials_and_what_was_fitted_are_recorded(finished: Finished, space: Space) -> None:
    result, progress = finished.result, finished.progress
    shots, fitted = split(result.candidates)
    assert [candidate.number for candidate in result.candidates] == list(range(len(shots) + len(fitted)))
    assert len({str(shot.layers) for shot in shots}) == 2 or len(shots) == 2 * DRAWS
    assert len(fitted) == 1
    told = [(candidate.choices, candidate.outcome, candidate.quality) for candidate in progress.told]
    first = {str(shot.layers): shot for shot in reversed(shots)}  # of each model, the trial that evaluated it
    different = [shot for shot in shots if first[str(shot.layers)] is shot]
    assert [(each.choices, each.outcome, each.quality) for each in [*different, *fitted]] == told
    low, high = space.gates[2].density
    for candidate in result.candidates:
        assert candidate.quality is not None and 0.8 < candidate.quality <= 1.0
        layers = {name: layer for name, layer in candidate.layers.items() if "(" not in name}
        assert set(layers) == {"query", "key", "value", "out", "up", "down"}
        assert all(low <= density <= high for _, density in layers.values())
        wholes = {name: density for name, (_, density) in candidate.layers.items() if name not in layers}
        assert set(wholes) == {"out (heads)", "down (neurons)"}
        assert all(density >= 0.5 for density in wholes.values())
    for candidate in shots:
        assert candidate.latency is None and candidate.wanted_ms is None
        assert 0.0 < candidate.choices["live"] < 0.85
    for candidate in fitted:
        assert candidate.latency is not None and candidate.latency.median_ms < 1000.0
        assert result.budget_ms == 1000.0 and candidate.load is not None and candidate.wanted_ms is not None
        assert candidate.load.value == pytest.approx(candidate.latency.median_ms / candidate.wanted_ms)
        assert candidate.predicted_ms is not None and candidate.predicted_ms > 0.0


def split(candidates: tuple[Candidate, ...]) -> tuple[list[Candidate], list[Candidate]]:
    """Trials, and what was fitted."""
    kinds = [candidate.outcome for candidate in candidates]
    assert kinds == sorted(kinds, reverse=True) and set(kinds) == {"one-shot", "fitted"}
    return list(candidates[: kinds.count("one-shot")]), list(candidates[kinds.count("one-shot") :])


def test_what_was_fitted_is_chosen(finished: Finished) -> None:
    shots, (fitted,) = split(finished.result.candidates)
    assert fitted.chosen and fitted.front and finished.result.chosen == fitted
    assert not any(candidate.chosen or candidate.front for candidate in shots)
    assert finished.result.facts["time"]["allowed"] == 3600


def test_the_artifact_is_the_verified_chosen_model(finished: Finished, task: TinyTask) -> None:
    result = finished.result
    model = l0.load(finished.out / "model")
    assert model.explain().verification["checked"]
    assert result.facts["model"]["compiled = gated"]["max_difference"] < 2e-5
    ids = torch.randint(0, 50, (1, 8))
    assert torch.nn.functional.cosine_similarity(model(ids), task.dense()(ids)).item() > 0.9
    assert [vars(region) for region in result.regions] == [vars(region) for region in model.explain().regions]
    assert {region.name for region in result.regions} >= {"query", "key", "value", "out", "up", "down"}


@pytest.mark.slow
def test_resuming_pays_for_no_trial_and_no_finalist_twice(
    finished: Finished, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Recorded()
    monkeypatch.setattr("l0compile.studies.pruning.pruners.prune", None)
    result = run_search(space, finished.out, quick=True, resume=True, progress=progress)
    assert progress.told == []
    assert split(result.candidates) == split(finished.result.candidates)


@pytest.mark.slow
def test_under_a_floor_of_quality_with_trained_gates(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitter(evaluator: Evaluator, bench: Bench, *_: object) -> MaskFitter:
        # Of so small a model the calls take most of the time, and noise the rest.
        made = MaskFitter(evaluator, bench, DeviceBudget(1.0), [], dense_ms=evaluator.menu.dense_ms)
        dense = made.dense_ms
        made.budget = DeviceBudget(made.formula(dense))
        made.points.append((dense, made.formula(dense)))
        return made

    monkeypatch.setattr("l0compile.studies.setup.Fitter", fitter)
    progress = Recorded()
    floored = dataclasses.replace(
        space,
        latency=LatencyBudget(None, None, "pytorch"),
        quality=QualityTarget(0.05),
        training=dataclasses.replace(space.training, gate_steps=4),
    )
    result = run_search(floored, tmp_path, quick=True, progress=progress)
    assert any(phase.startswith("training at") for phase in progress.phases)
    chosen, dense = result.row(CHOSEN), result.row(DENSE)
    assert chosen.latency is not None and dense.latency is not None and chosen.quality is not None
    fitted = [candidate for candidate in result.candidates if candidate.outcome == "fitted"]
    assert len(fitted) > 1 and sum(candidate.chosen for candidate in fitted) == 1
    assert chosen.quality > 0.8
    assert set(result.facts["seconds of each phase"]) >= {
        "setting up",
        "finalists",
        "measuring the dense model and the budget's reference",
    }


def test_a_size_that_no_plan_has_is_told_before_anything_is_measured(space: Space, tmp_path: Path) -> None:
    progress = Recorded()
    with pytest.raises(ConfigError, match=r"limits\.artifact_mb: expected more than 2\.0"):
        run_search(dataclasses.replace(space, limits={"artifact_mb": 1.0}), tmp_path, progress=progress)
    assert progress.phases == ["loading model and data"]


def test_patterns_are_checked_before_anything_is_measured(space: Space, tmp_path: Path) -> None:
    stray = dataclasses.replace(space.gates[0], patterns=("outt",))
    progress = Recorded()
    with pytest.raises(GateError, match="'outt' matches no module"):
        run_search(dataclasses.replace(space, gates=(stray,)), tmp_path, progress=progress)
    assert progress.phases == ["loading model and data"]


def test_feeds_are_checked_before_anything_is_measured(space: Space, tmp_path: Path) -> None:
    progress = Recorded()
    with pytest.raises(GateError, match="feeds pattern 'upp' matches no module"):
        run_search(dataclasses.replace(space, feeds={"upp": "down"}), tmp_path, progress=progress)
    assert progress.phases == ["loading model and data"]


def test_shapes_without_a_kernel_are_left_out_or_refused(space: Space) -> None:
    blocks = space.gates[2]
    target = dataclasses.replace(load_target("x86-64-avx2"), blocks=((4, 1),), efficiency=(((4, 1), 1.0),))

    def of(*shapes: tuple[int, int]) -> dict[str, tuple[tuple[int, int], ...]]:
        wanted = dataclasses.replace(space, gates=(dataclasses.replace(blocks, shapes=shapes),))
        return legal_shapes(wanted, target)

    assert of((4, 1), (8, 1))["blocks"] == ((4, 1), (8, 1))
    assert of((4, 1), (2, 1))["blocks"] == ((4, 1),)
    for shape in ((3, 1), (3, 7)):
        with pytest.raises(
            ConfigError, match=rf"gates 'blocks': shapes: .* kernels for 4x1 .* got {shape[0]}x{shape[1]}$"
        ):
            of((4, 1), shape)
    with pytest.raises(ConfigError, match=r"got 2x1$"):
        of((2, 1))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_that_cannot_be_written(space: Space, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match=r"can't be written.*completed trials are kept"):
        run_search(space, tmp_path / "out")


def test_an_output_folder_that_is_a_file(space: Space, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match=r"out: expected a folder, got a file; choose another --out"):
        run_search(space, tmp_path / "out")


def test_a_missing_reference_engine_is_told_before_anything_is_loaded(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latency = dataclasses.replace(space.latency, ms=None, ratio=0.5, reference="onnxruntime")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    progress = Recorded()
    with pytest.raises(
        MissingDependency, match=r"'onnxruntime' needs onnxruntime, onnx, onnxscript; run: pip"
    ):
        run_search(dataclasses.replace(space, latency=latency), tmp_path, progress=progress)
    assert progress.phases == []


@pytest.mark.slow
def test_a_search_chooses_precisions(narrow_space: Space, tmp_path: Path) -> None:
    effort = dataclasses.replace(narrow_space.effort, trials=2, finalists=1)
    # Between what the tiny model takes in int8 and in float32 there is nothing to measure: only the size tells.
    whole = sum(parameter.numel() for parameter in TinyTask(TinyOptions()).dense().parameters())
    asked = dataclasses.replace(narrow_space, effort=effort, limits={"artifact_mb": 2.0 + 3e-6 * whole})
    result = run_search(asked, tmp_path / "out")
    rows = {row.name: row for row in result.rows}
    assert [*rows][-2:] == [DENSE, CHOSEN]
    assert {ROW_OF[engine] for engine in NARROW} < set(rows)
    assert rows[ROW_OF["openvino-bf16"]].precision == "bfloat16" and "int8" in rows[CHOSEN].precision
    assert result.chosen is not None and any(len(layer) == 3 for layer in result.chosen.layers.values())
    assert any(region.precision == "int8" for region in l0.load(tmp_path / "out" / "model").explain().regions)
    quality = rows[CHOSEN].quality
    assert quality is not None and 0.9 < quality < 1.0
