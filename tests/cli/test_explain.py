"""explain through the command: the same from a file and from a function; measured, or with the reason why not."""

import json
from pathlib import Path

import pytest
import torch

from l0compile.runtime.artifact import read_manifest, write_bundle


@pytest.fixture
def artifact(cli, model_file: Path, tmp_path: Path) -> Path:
    code, _, err = cli(
        "compile",
        f"{model_file}:make",
        *("--out", tmp_path / "fast", "--dynamic", "input:0=batch", "--engine", "tvm"),
    )
    assert code == 0, err
    return tmp_path / "fast"


def test_the_same_from_the_file_and_from_the_function(cli, artifact: Path, model_file: Path) -> None:
    saved = json.loads(cli("explain", artifact, "--json", "--size", "batch=5")[1])
    made = json.loads(
        cli(
            "explain",
            f"{model_file}:make",
            *("--dynamic", "input:0=batch", "--json", "--measure-dense", "--engine", "tvm"),
        )[1]
    )
    assert saved["regions"] == made["regions"] != []
    assert saved["verification"]["checked"] is True
    assert saved["time"]["sizes"] == {"batch": 5} and saved["time"]["before"] == "predicted"
    assert made["time"]["sizes"] == {"batch": 3} and made["time"]["before"] == "measured"
    assert [item["name"] for item in saved["time"]["regions"]] == ["0", "2"]
    assert all(item["after_ms"] > 0 for item in saved["time"]["regions"])
    assert saved["not_measured"] is None


def test_the_text_says_what_was_done_and_what_it_cost(cli, artifact: Path) -> None:
    code, out, _ = cli("explain", artifact)
    assert code == 0
    assert "compact" in out and "compiled = gated within" in out
    assert "Layers with weights take" in out and "batch = 3" in out
    assert max(map(len, out.splitlines()[1:])) <= 100


def test_nothing_runs_when_not_asked(cli, artifact: Path) -> None:
    code, out, _ = cli("explain", artifact, "--no-measure")
    assert code == 0 and "dense ms" not in out and "not measured: as asked" in out


def test_a_model_for_another_machine_is_explained_without_times(cli, artifact: Path, tmp_path: Path) -> None:
    manifest = read_manifest(artifact)
    target = {**manifest["target"], "triple": "riscv64-linux-gnu"}
    write_bundle(tmp_path / "other", {**manifest, "target": target}, {}, artifact / "lib.so")
    shown = json.loads(cli("explain", tmp_path / "other", "--json")[1])
    assert shown["time"] is None and "riscv64" in shown["not_measured"]
    assert shown["regions"] == manifest["explanation"]["regions"]


def test_a_saved_model_has_no_dense_twin(cli, artifact: Path) -> None:
    code, _, err = cli("explain", artifact, "--measure-dense")
    assert code == 1 and "--measure-dense: a saved model" in err


def test_unknown_sizes_are_refused(cli, artifact: Path) -> None:
    code, _, err = cli("explain", artifact, "--size", "tokens=5")
    assert code == 1 and "--size batch=N" in err


def test_a_page_can_be_written(cli, artifact: Path, tmp_path: Path) -> None:
    assert cli("explain", artifact, "--no-measure", "--html", tmp_path / "e.html")[0] == 0
    assert "<title>fast, for target native</title>" in (tmp_path / "e.html").read_text()
    code, _, err = cli("explain", artifact, "--no-measure", "--html", tmp_path / "missing" / "e.html")
    assert code == 1 and "could not be written" in err


def test_a_model_that_pytorch_runs_is_timed_as_a_whole(cli, model_file: Path) -> None:
    code, out, _ = cli("explain", f"{model_file}:make", "--engine", "torch")
    text = " ".join(out.split())
    assert code == 0 and "PyTorch runs this model, in" in text and "engine: torch: asked for" in text


def test_gates_before_training(cli, model_file: Path, artifact: Path) -> None:
    found = json.loads(cli("explain", f"{model_file}:make", "--gates", "--json")[1])
    assert found["unit"] == "ms"
    assert {group["granularity"] for group in found["groups"]} >= {"Neuron()", "Block(4, 1)"}
    code, _, err = cli("explain", artifact, "--gates")
    assert code == 1 and "before training" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_model_for_a_gpu_that_is_not_here_is_predicted(
    cli, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l0compile.lower.cuda.library.has_nvcc", lambda: False)
    code, out, _ = cli("explain", f"{model_file}:make", "--target", "cuda-sm80")
    assert code == 0 and "predicted" in out and "not measured: it needs an NVIDIA GPU (sm_80)" in out
