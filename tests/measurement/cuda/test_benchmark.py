"""`make gpu` without a GPU: everything but launches, and what it makes of rows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from l0compile.hardware.costs import GpuModel
from l0compile.hardware.targets import list_targets, load_target
from l0compile.kernels.cuda.toolchain import has_nvcc

ROOT = Path(__file__).parents[3]
ROWS: list[dict[str, Any]] = [
    {"part": "correctness", "tokens": 40, "block": 32, "largest error": 0.0012},
    {"part": "layers", "tokens": 40, "n": 64, "k": 96, "block": 32, "density": 0.5, "dtype": "float16",
     "engine": "ours", "ms": 0.0123, "low_ms": 0.012, "high_ms": 0.013, "predicted_ms": [0.005, 0.01, 0.02]},
    {"part": "layers", "tokens": 40, "n": 64, "k": 96, "block": 0, "density": 1.0, "dtype": "float16",
     "engine": "F.linear (cuBLAS)", "ms": 0.02, "low_ms": 0.02, "high_ms": 0.02},
    {"part": "layers", "tokens": 40, "block": 32, "engine": "Triton", "error": "RuntimeError: no blocks of 32"},
    {"part": "models", "model": "BERT", "engine": "ours", "not measured": "a dry run"},
]  # fmt: skip


@pytest.fixture(autouse=True)
def harness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_rows_become_a_table_and_a_picture() -> None:
    from harness import gpu_report

    lines = gpu_report.table(ROWS).splitlines()[2:]
    assert "0.0012" in lines[0]
    assert "0.0123 [0.012, 0.013]" in lines[1] and "predicted 0.01 [0.005, 0.02]" in lines[1]
    assert "failed: RuntimeError" in lines[3] and "not measured" in lines[4]
    assert gpu_report.picture(ROWS)[:4] == b"\x89PNG" and gpu_report.picture([])[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", [name for name in list_targets() if name.startswith("cuda")])
def test_it_should_take_less_than_ten_minutes_on_every_card(name: str) -> None:
    """By estimate; on a card, --minutes ends it."""
    from harness import gpu_plan

    target = load_target(name)
    plan = gpu_plan.full_plan(target)
    assert sum(plan.seconds(GpuModel(target)).values()) < 600
    assert all(target.multiplies(case.dtype) or case.dtype == "float16" for case in plan.layers)


@pytest.mark.slow
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is not installed")
def test_a_dry_run_does_all_but_launch(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--dry-run", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    assert {row["part"] for row in rows} == {"correctness", "layers", "attention", "models"}
    assert all(row["not measured"] == "a dry run: built, and not launched" for row in rows)
    assert not any(key in row for row in rows for key in ("ms", "error", "largest error"))
    assert (tmp_path / "gpu.png").read_bytes()[:4] == b"\x89PNG" and "not measured" in done.stdout
