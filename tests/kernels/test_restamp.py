"""The script that keeps cost records over an edit: kernels that come out the same keep theirs, others do not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from l0compile.hardware.costs import shipped_records
from l0compile.hardware.costs.text import line
from l0compile.hardware.targets import Core
from l0compile.kernels.costs import costed_kernel

ROOT = Path(__file__).parents[2]
LINEAR = costed_kernel("linear").stamp(Core())


def records() -> list[str]:
    """A block-sparse and a dense linear layer, measured with the code as it is."""
    found = [line(r) for r in shipped_records() if r.key.place.versions.endswith(LINEAR)]
    return [next(t for t in found if '"block"' in t), next(t for t in found if '"block"' not in t)]


def checkout(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of this checkout with one edit."""
    for name in ("l0compile", "targets"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "l0compile" / "kernels" / "cpu" / "linear" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return folder


def restamped(old: Path, path: Path) -> list[str]:
    """Stamps of ``records`` as the code in ``old`` would have written them, after the script."""
    code = (
        "from l0compile.kernels.costs import costed_kernel; from l0compile.hardware.targets import Core; "
        "print(costed_kernel('linear').stamp(Core()))"
    )
    there = subprocess.run([sys.executable, "-c", code], cwd=old, capture_output=True, text=True, check=True)
    stamp = there.stdout.strip()
    assert stamp != LINEAR
    path.write_text("".join(text.replace(LINEAR, stamp) + "\n" for text in records()))
    command = [sys.executable, "benchmarks/restamp.py", str(old), "--records", str(path), "--write"]
    subprocess.run(command, cwd=ROOT, check=True)
    return [json.loads(text)["versions"].split("; ")[1] for text in path.read_text().splitlines()]


@pytest.mark.slow
def test_another_name_keeps_the_records(tmp_path: Path) -> None:
    old = checkout(tmp_path / "old", "shares.py", "_UNIT_COST", "_COST_OF_A_UNIT")
    assert restamped(old, tmp_path / "records") == [LINEAR, LINEAR]


@pytest.mark.slow
def test_other_code_loses_them(tmp_path: Path) -> None:
    old = checkout(tmp_path / "old", "shares.py", "_UNIT_COST = 2", "_UNIT_COST = 3")
    stamps = restamped(old, tmp_path / "records")
    assert stamps.count(LINEAR) == 1  # a dense layer is cut by rows, whatever a unit costs
