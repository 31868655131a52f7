"""The dense model in int8 by other engines: files of the right size, and reasons where a package is missing."""

import builtins
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import TinyOptions, TinyTask

from l0compile.errors import InputError, MissingDependency
from l0compile.hardware.process import flushes_denormals
from l0compile.hardware.targets import load_target
from l0compile.measurement import EngineModule
from l0compile.studies.bench.bench import Bench
from l0compile.studies.bench.engines import NARROW, ROW_OF
from l0compile.studies.bench.narrow_engines import NarrowFiles
from l0compile.studies.constraints.latency import LatencyBudget
from l0compile.studies.fit.budget import check_reference
from l0compile.studies.space.space import Space

for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason="pip install 'l0compile[bench]'")


class AnySize(TinyTask):
    """The tiny task, for batches of any size."""

    def dynamic_shapes(self) -> Any:
        return {"ids": {0: "batch"}}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    found = Bench(AnySize(TinyOptions()), tmp_path_factory.mktemp("bench"))
    found.prepare()
    return found


def test_each_engine_has_a_file_and_a_quality_of_its_own(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nncf", reason="pip install 'l0compile[int8]'")
    before = flushes_denormals()
    jobs, failures = bench.dense_jobs(NARROW)
    assert capfd.readouterr().out == ""  # a command may print JSON there
    assert not failures and list(jobs) == [ROW_OF[engine] for engine in NARROW]
    wanted = bench.task.dense()(*bench.task.example())
    for engine in NARROW:
        found = EngineModule(engine, str(bench.narrow.timed(engine)))(*bench.task.example())
        assert found.shape == wanted.shape and 0 < float((found - wanted).abs().max()) < 0.1
        quality = bench.narrow.quality(engine)
        # Where the CPU has no bfloat16, OpenVINO computes in float32.
        rounds = engine != "openvino-bf16" or "avx512bf16" in load_target("native").dot_products
        assert quality is not None and 0.9 < quality <= 1.0 and (quality < 1.0 or not rounds)
        assert flushes_denormals() == before  # engines change it for good


def test_files_of_one_size_have_no_quality(task: TinyTask, tmp_path: Path) -> None:
    assert NarrowFiles(task, tmp_path).quality("openvino-int8") is None


def test_without_nncf_the_row_says_what_to_install(
    task: TinyTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "nncf":
            raise ImportError("No module named 'nncf'")
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    bench = Bench(task, tmp_path)
    bench.prepare()
    jobs, failures = bench.dense_jobs(("openvino-int8", "openvino-bf16"))
    assert list(jobs) == [ROW_OF["openvino-bf16"]]
    assert "pip install 'l0compile[int8]'" in failures[ROW_OF["openvino-int8"]]


def test_a_budget_relative_to_int8_needs_nncf(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "nncf" else object())
    relative = dataclasses.replace(space, latency=LatencyBudget(0.5, None, "openvino-int8"))
    with pytest.raises(MissingDependency, match=r"'openvino-int8' needs nncf; run: pip install nncf"):
        check_reference(relative)
    check_reference(dataclasses.replace(space, latency=LatencyBudget(0.5, None, "openvino-bf16")))


def test_an_engine_takes_as_many_tensors_as_its_file(bench: Bench) -> None:
    module = EngineModule("openvino-bf16", str(bench.narrow.timed("openvino-bf16")))
    with pytest.raises(InputError, match="expected 1 tensors, got 2"):
        module(torch.zeros(1), torch.zeros(1))
