"""A search for a GPU that is not here: it runs on predictions, and says so at each number."""

import dataclasses
import io
import re
from pathlib import Path

import pytest
import tiny_task
import torch
from rich.console import Console
from torch import nn

import l0compile as l0
from l0compile.errors import ArtifactError, ConfigError, StorageError
from l0compile.hardware.targets import load_target
from l0compile.lower.cuda import library
from l0compile.measurement import Measurement, Protocol, ratio
from l0compile.report.pages.search_page import render_search
from l0compile.report.terminal import asked_lines, comparison_table
from l0compile.runtime.artifact import read_manifest
from l0compile.studies.bench import predicted
from l0compile.studies.bench.bench import Bench
from l0compile.studies.bench.engines import CHOSEN, DENSE, PYTORCH
from l0compile.studies.bench.predicted import predict_model, read_prediction, refusal, with_code
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.fit.budget import budget_of, check_reference
from l0compile.studies.result import Latency, SearchResult
from l0compile.studies.space.space import Effort, Space, TrainingPlan
from l0compile.studies.study.progress import Silent

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU here, its models are measured")


def test_a_bench_without_the_gpu_predicts_and_refuses_other_engines(space: Space, tmp_path: Path) -> None:
    bench = Bench(tiny_task.TinyTask(tiny_task.TinyOptions()), tmp_path, load_target("cuda-sm90"))
    assert bench.predicts and not Bench(bench.task, tmp_path, load_target("x86-64-avx2")).predicts
    bench.prepare()
    jobs, failures = bench.dense_jobs()
    measured = bench.compare(jobs, failures, Protocol.quick(), (DENSE,), width=1.0)
    assert measured[DENSE].predicted and str(measured[DENSE]).startswith("predicted ")
    assert "no GPU here" in str(measured[PYTORCH].error)
    relative = dataclasses.replace(space, latency=LatencyBudget(0.5, None, "l0compile"))
    budget = budget_of(relative, measured, jobs)
    found, load = budget.measure(bench, tmp_path / "dense")
    assert found.predicted and load.value == pytest.approx(2.0) and load.low == load.high


def test_predictions_are_compared_with_nothing_that_runs_here(space: Space) -> None:
    relative = dataclasses.replace(space, latency=LatencyBudget(0.5, None, "pytorch"))
    with pytest.raises(ConfigError, match="there is no GPU here, so times are predicted; expected reference"):
        check_reference(relative, predicts=True)
    check_reference(dataclasses.replace(space, latency=LatencyBudget(None, 1.0, "pytorch")), predicts=True)


def test_a_prediction_is_no_measurement_wherever_it_is_printed() -> None:
    made = Measurement.of_prediction(0.5, 1.0, 2.0, Protocol.quick())
    assert str(made) == "predicted 1.000 ms [0.500, 2.000]"
    assert Measurement.from_dict(made.to_dict()) == made
    assert str(Latency.of(made)) == "predicted 1 ms [0.5, 2]"
    half = Measurement.of_prediction(0.3, 0.5, 0.9, Protocol.quick())
    assert ratio(made, half, paired=True).value == 2.0


def test_a_predicted_model_is_saved_without_code(tmp_path: Path) -> None:
    x = torch.randn(64, 256)
    model = nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)).eval()
    predict_model(model, (x,), load_target("cuda-sm80")).save(tmp_path / "made")
    assert {file.name for file in (tmp_path / "made").iterdir()} == {"prediction.json", "weights.safetensors"}
    assert read_prediction(tmp_path / "made", Protocol.quick()).predicted
    with pytest.raises(StorageError, match="expected a prediction"):
        read_prediction(tmp_path / "absent", Protocol.quick())


def test_the_chosen_model_is_saved_with_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (library, predicted):
        monkeypatch.setattr(place, "has_nvcc", lambda: False)
    x, gpu = torch.randn(64, 256), load_target("cuda-sm90")
    model = nn.Linear(256, 64).eval()
    found = with_code(predict_model(model, (x,), gpu), model, (x,), gpu, None)
    assert "there is no nvcc here" in found.told and found.explain().predicted == found.time
    found.save(tmp_path / "made")
    assert read_manifest(tmp_path / "made")["target"]["cpu"] == load_target("cuda-sm90").cpu
    assert read_prediction(tmp_path / "made", Protocol.quick()).median_ms == found.time.mid_ms
    with pytest.raises(ArtifactError, match="copy the folder to a machine that has one"):
        l0.load(tmp_path / "made")


def test_a_model_that_no_code_comes_out_of_is_still_predicted(tmp_path: Path) -> None:
    """Its operator has no lowering for GPUs; a search that found it is not lost."""
    x, gpu = torch.randn(8, 8), load_target("cuda-sm90")
    model = Inverse().eval()
    assert refusal(nn.Linear(8, 8).eval(), (x,), gpu, None) is None
    assert "BuildError" in str(refusal(model, (x,), gpu, None))
    found = with_code(predict_model(model, (x,), gpu), model, (x,), gpu, None)
    assert found.compiled is None and found.told.startswith("weights, no code: BuildError: ")
    found.save(tmp_path / "made")
    assert read_prediction(tmp_path / "made", Protocol.quick()).predicted


class Inverse(nn.Module):
    """No kernel computes it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(self.layer(x))


@pytest.mark.slow
def test_a_search_for_a_gpu_says_predicted_at_each_number(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dense, x = (
        nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 512)).eval(),
        torch.randn(1024, 512),
    )

    def distance(found: nn.Module) -> torch.Tensor:
        return (found(x) - dense(x).detach()).square().mean()

    budget = 0.7 * predict_model(dense, (x,), load_target("cuda-sm90")).time.mid_ms
    blocks = [l0.Block(size, size) for size in (16, 32, 64)]
    result = l0.search(
        dense, distance, lambda found: -float(distance(found)), {"0": blocks, "2": blocks}, "cuda-sm90",
        args=(x,), calibration=[(x,)], budget_ms=budget, out=tmp_path, progress=Silent(),
        effort=Effort(trials=1, seconds=3600, sweep=(), thorough=False),
        training=TrainingPlan(candidate_steps=2, tune_steps=4),
    )  # fmt: skip
    assert result.predicted and result.row(CHOSEN).latency is not None
    assert SearchResult.load(tmp_path / "result.json") == result
    assert all(item.found.startswith("predicted") for item in result.asked if item.kind == "latency")
    assert read_manifest(tmp_path / "model")["target"]["cpu"] == load_target("cuda-sm90").cpu
    assert "has never run" in str(result.facts["predicted"]["artifact"])
    page = re.sub(r"<svg.*?</svg>", "", render_search(result), flags=re.DOTALL)
    assert "Nothing was measured on a GPU" in page and "measured, ms" not in page
    assert not re.search(r"(?<!predicted )(?<![\d.])\d[\d.]* ms \[", page)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(comparison_table(result), *asked_lines(result))
    assert "predicted latency, ms" in console.export_text()
