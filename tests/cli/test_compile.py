"""Compile, explain and bench through the command, on a real model."""

import json
from pathlib import Path

import pytest
import torch

import l0compile as l0
from l0compile.cli.models.example import load_example


@pytest.fixture
def artifact(cli, model_file: Path, tmp_path: Path) -> Path:
    code, out, err = cli(
        "compile", f"{model_file}:make", "--out", tmp_path / "fast", "--dynamic", "input:0=batch"
    )
    assert code == 0, err
    assert f"saved {tmp_path / 'fast'} for target native" in " ".join(out.split())
    return tmp_path / "fast"


def test_the_saved_model_gives_the_answers_of_the_original(artifact: Path, model_file: Path) -> None:
    model = load_example(f"{model_file}:make").module()
    loaded = l0.load(artifact)
    for batch in (1, 3, 70):
        x = torch.randn(batch, 16)
        with torch.no_grad():
            torch.testing.assert_close(loaded(x), model(x), rtol=1e-5, atol=1e-5)


def test_bench_measures_a_saved_model(cli, artifact: Path) -> None:
    code, out, err = cli("bench", artifact, "--size", "batch=2", "--quick", "--json", "--percentile", "90")
    assert code == 0, err
    result = json.loads(out)["results"]["l0compile"]
    assert result["error"] is None and result["median_ms"] > 0 and result["protocol"]["blocks"] == 8
    assert result["protocol"]["percentile"] == 90


def test_bench_asks_for_the_sizes(cli, artifact: Path) -> None:
    code, _, err = cli("bench", artifact, "--quick")
    assert code == 1 and "--size batch=N" in err


def test_bench_compares_engines_and_lists_those_that_cannot_run(cli, model_file: Path) -> None:
    code, out, err = cli(
        "bench", f"{model_file}:make", "--quick", "--engines", "pytorch", "l0compile", "--json"
    )
    assert code == 0, err
    results = json.loads(out)["results"]
    assert set(results) == {"pytorch", "l0compile"} and all(
        result["error"] is None for result in results.values()
    )


@pytest.mark.parametrize("engines", [["tensorrt"], ["pytorch", "nonsense"]])
def test_unknown_engines_are_refused(cli, model_file: Path, engines: list[str]) -> None:
    code, _, err = cli("bench", f"{model_file}:make", "--engines", *engines)
    assert code == 1 and "expected some of pytorch" in err


def test_a_taken_place_is_told_before_compiling(cli, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    code, _, err = cli("compile", f"{model_file}:boom", "--out", tmp_path / "taken")
    assert code == 1 and "other files" in err
    assert (tmp_path / "taken" / "thesis.txt").read_text() == "mine"


def test_a_wrong_function_is_an_error_without_a_traceback(cli, model_file: Path, tmp_path: Path) -> None:
    code, out, err = cli("compile", f"{model_file}:boom", "--out", tmp_path / "x")
    assert (code, out) == (1, "") and "no weights here" in err and "Traceback" not in err
