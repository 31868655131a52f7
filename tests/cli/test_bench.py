"""bench at many sizes, and with inputs by name on every kind of engine."""

import json
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")


def test_a_sweep_is_one_table_and_one_picture(cli, model_file: Path, tmp_path: Path) -> None:
    command = ["bench", f"{model_file}:make", "--dynamic", "input:0=batch", "--batch", "1,4", "--quick"]
    code, out, err = cli(*command, "--engines", "pytorch", "--plot", tmp_path / "b.svg", "--json")
    assert code == 0, err
    points = json.loads(out)["points"]
    assert [point["sizes"] for point in points] == [{"batch": 1}, {"batch": 4}]
    assert all(point["results"]["pytorch"]["median_ms"] > 0 for point in points)
    assert "<svg" in (tmp_path / "b.svg").read_text()


@pytest.mark.slow
def test_engines_take_inputs_by_name(cli, model_file: Path) -> None:
    engines = ["pytorch", "onnxruntime", "l0compile"]
    code, out, err = cli(
        "bench", f"{model_file}:named", "--batch", "3", "--quick", "--engines", *engines, "--json"
    )
    assert code == 0, err
    facts = json.loads(out)
    assert facts["sizes"] == {"batch": 3}
    assert {engine: result["error"] for engine, result in facts["results"].items()} == dict.fromkeys(engines)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "b.txt"], "--plot: expected a name ending in .png, .svg, .pdf, got 'b.txt'"),
        (["--batch", "0"], "--size: expected NAME=NUMBER"),
        (["--batch", "1", "--size", "batch=2"], "each name once"),
        (["--tokens", "4", "--engines", "pytorch"], "nothing in it is called 'tokens'"),
    ],
)
def test_errors(cli, model_file: Path, options: list[str], message: str) -> None:
    code, _, err = cli("bench", f"{model_file}:make", *options)
    assert code == 1 and message in err
