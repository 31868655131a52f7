"""The committed facts of compiled kernels: nothing spills, tensor cores are used, and code does not become worse."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from l0compile.hardware.targets import list_targets, load_target
from l0compile.kernels.cuda.toolchain import find_toolchain, has_nvcc

ROOT = Path(__file__).parents[3]
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in (ROOT / "benchmarks/results/cuda_facts.jsonl").read_text().splitlines()
]
GPUS = [name for name in list_targets() if name.startswith("cuda")]


def _can_disassemble() -> bool:
    return has_nvcc() and None not in (find_toolchain().cuobjdump, find_toolchain().nvdisasm)


def _check(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/cuda_facts.py", "--check", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_kernel_is_on_record_for_every_architecture_that_has_its_numbers() -> None:
    found = {(row["case"], row["arch"]) for row in ROWS}
    cases = {row["case"] for row in ROWS}
    assert len(cases) >= 50
    for case in cases:
        later = case.endswith(("bfloat16", "tf32")) or "2:4" in case
        wanted = {load_target(name).cpu for name in GPUS} - ({"sm_75"} if later else set())
        assert {arch for name, arch in found if name == case} == wanted, case


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['case']} {row['arch']} {row['kernel']}")
def test_no_register_is_spilled_and_tensor_cores_are_used(row: dict[str, Any]) -> None:
    assert row["spill_bytes"] == 0 and row["blocks_per_sm"] > 0 and not row.get("serialized")
    adds_parts = (
        "1" in row["kernel"].rpartition("_")[2]
    )  # a second kernel, which adds what others have multiplied
    if row["tensor_cores"] and not adds_parts:
        if "int8" in row["case"]:
            assert row["instructions"]["imma"] > 0
            return
        if "2:4" in row["case"]:
            assert row["instructions"]["hmma_sp"] == row["instructions"]["hmma"] > 0
            return
        by_warpgroups = (
            row["arch"] == "sm_90a" and row["case"].startswith("linear") and "16" in row["case"].split()[2]
        )
        assert row["instructions"]["hgmma" if by_warpgroups else "hmma"] > 0
    if row["arch"] != "sm_75":
        assert row["instructions"]["ldgsts"] > 0 or adds_parts


@pytest.mark.skipif(not _can_disassemble(), reason="nvcc, cuobjdump or nvdisasm is not installed")
@pytest.mark.parametrize(
    ("target", "case"),
    [
        ("cuda-sm80", "linear 64x64 bfloat16"),
        ("cuda-sm90", "listed attention 64 float16"),
        ("cuda-sm90", "attention with masked keys 64 bfloat16"),
    ],
)
def test_code_is_no_worse_than_on_record(target: str, case: str) -> None:
    done = _check("--targets", target, "--cases", case)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not _can_disassemble(), reason="nvcc, cuobjdump or nvdisasm is not installed")
@pytest.mark.parametrize("target", GPUS)
def test_no_code_is_worse_than_on_record(target: str) -> None:
    done = _check("--targets", target)
    assert done.returncode == 0, done.stderr


def test_what_is_worse_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cuda_facts

    row = next(row for row in ROWS if row["case"] == "linear 64x64 float16" and row["arch"] == "sm_80")
    worse = copy.deepcopy(row)
    worse["spill_bytes"], worse["occupancy"] = 8, row["occupancy"] / 2
    worse["instructions"]["hmma"] = 0
    said = " ".join(cuda_facts.worse_than(worse, row))
    assert "8 bytes of registers are spilled" in said and "hmma instructions are gone" in said
    assert "occupancy" in said and not cuda_facts.worse_than(row, row)
    assert cuda_facts.worse_than(row, None) == ["there is nothing on record"]


def test_whole_models_on_record_have_no_island_and_spill_nothing() -> None:
    lines = (ROOT / "benchmarks" / "results" / "cuda_models.jsonl").read_text(encoding="utf-8").splitlines()
    newest = {
        tuple(row[name] for name in ("model", "target", "dtype", "zeros")): row
        for row in map(json.loads, lines)
    }
    assert len(newest) >= 24
    assert not [key for key, row in newest.items() if row["islands"] or row["spill bytes"]]
