"""Machine code of whole models for 16 registers: sums stay in them, also where a long activation follows."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

import l0compile as l0

_SUMS = 8  # 4 rows of a block, 2 registers of tokens


@pytest.mark.skipif(
    shutil.which("objdump") is None or platform.machine() != "x86_64",
    reason="objdump, of binutils, is not installed, or this machine cannot link code for x86-64",
)
@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.Tanh(), nn.ReLU()], ids=str)
def test_sums_stay_in_registers(tmp_path: Path, activation: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(96, 64), activation, nn.Linear(64, 96)).eval()
    for layer in (model[0], model[2]):
        blocks = torch.rand(len(layer.weight) // 4, layer.in_features) < 0.4
        layer.weight.data *= blocks.repeat_interleave(4, 0)
    compiled = l0.compile(
        model,
        (torch.randn(1, 32, 96),),
        dynamic_shapes=({1: torch.export.Dim("tokens", max=512)},),
        target="x86-64-avx2",
        engine="tvm",
    )
    compiled.save(tmp_path / "model")
    loops = _innermost_loops(tmp_path / "model" / "lib.so")
    # Those that add two blocks for all tokens of a tile, and do little else.
    whole = [loop for loop in loops if _products(loop) == 2 * _SUMS and len(loop) < 3 * _products(loop)]
    assert len(whole) >= 2
    assert not any("%ymm" in line and "(%rsp" in line for loop in whole for line in loop)


def _products(loop: list[str]) -> int:
    return sum("vfmadd" in line for line in loop)


def _innermost_loops(library: Path) -> list[list[str]]:
    command = ["objdump", "-d", "--no-show-raw-insn", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [(int(at, 16), text) for at, text in re.findall(r"^ +([0-9a-f]+):\s+(.*)$", done.stdout, re.M)]
    place = {at: number for number, (at, _) in enumerate(lines)}
    loops = []
    for number, (_, text) in enumerate(lines):
        jump = re.match(r"j\w+ +([0-9a-f]+)", text)
        if jump and place.get(int(jump[1], 16), number) < number:
            loops.append((place[int(jump[1], 16)], number))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return [[text for _, text in lines[begin:end]] for begin, end in inner]
