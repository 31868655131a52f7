"""What was compiled once is not generated again: by this process or another, for other weights, for other models."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from l0compile.compiler.compile import compile
from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.ir.program import Program
from l0compile.kernels.cpu.lanes import SCHEDULED
from l0compile.kernels.token_tile import token_tile
from l0compile.lower import kept_stage
from l0compile.lower.kept_stage import KeptStage, stage_key
from l0compile.lower.tvm import objects
from l0compile.rewrite.pipeline import assign_layouts, optimise

TARGET = load_target("native")
TILE = token_tile(TARGET)


def mlp(seed: int, hidden: int = 64, density: float = 1.0) -> nn.Module:
    torch.manual_seed(seed)
    model = (
        nn.Sequential(nn.Linear(32, hidden), nn.GELU(), nn.Linear(hidden, 16)).eval().requires_grad_(False)
    )
    mask = torch.rand(hidden // 4, 1, 32) < density
    model[0].weight.mul_(mask.expand(-1, 4, -1).reshape(hidden, 32))
    return model


X = torch.randn(3, 40, 32)


def check(model: nn.Module, **options: object) -> None:
    compiled = compile(model, (X,), engine="tvm", **options)  # type: ignore[arg-type]
    torch.testing.assert_close(compiled(X), model(X), rtol=1e-5, atol=1e-5)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path))
    return tmp_path / "code"


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pieces that code was generated for; the launches are "glue"."""
    found: list[str] = []
    original = objects._Piece._compiled

    def noted(piece: objects._Piece, target: object) -> bytes:
        found.extend(["glue"] if piece.glue else piece.functions)
        return original(piece, target)  # type: ignore[arg-type]

    monkeypatch.setattr(objects._Piece, "_compiled", noted)
    return found


def test_other_weights_need_no_code(cache: Path, generated: list[str]) -> None:
    check(mlp(0))
    assert "glue" in generated and len(generated) > 2
    generated.clear()
    check(mlp(1))
    assert not generated


def test_layers_that_share_a_kernel(cache: Path, generated: list[str]) -> None:
    torch.manual_seed(0)
    layers = [part for _ in range(4) for part in (nn.Linear(32, 32), nn.LayerNorm(32))]
    check(nn.Sequential(*layers).eval().requires_grad_(False))
    assert len(generated) == len(set(generated)) < 8


def test_only_launches_and_shapes_are_built_without_optimisation(
    cache: Path, generated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[objects._Piece] = []
    original = objects._Piece.code

    def noted(piece: objects._Piece, *given: object) -> bytes:
        pieces.append(piece)
        return original(piece, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(objects._Piece, "code", noted)
    check(Scaled(lambda x: (x - x.amax(1, keepdim=True)).cumsum(1).softmax(1)).eval())
    (glue,) = (piece for piece in pieces if piece.glue)
    for function in glue.functions.values():
        attributes = function.attrs or {}
        assert SCHEDULED not in attributes or "T.call_cpacked" in function.script()
    alone = [name for piece in pieces if not piece.glue for name in piece.functions]
    assert any(not name.startswith("kernel_") for name in alone)  # tasks that launches cannot share


def test_other_zeros_need_no_kernels(cache: Path, generated: list[str]) -> None:
    check(mlp(0, density=0.3))
    generated.clear()
    check(mlp(1, density=0.25))
    assert not generated


def test_another_process_needs_not_even_the_compiler(cache: Path, tmp_path: Path) -> None:
    code = f"""
import sys, torch
from torch import nn
import l0compile as l0
torch.manual_seed(int(sys.argv[1]))
model = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 16)).eval()
x = torch.randn(3, 40, 32)
compiled = l0.compile(model, (x,), engine="tvm")
torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)
compiled.save({str(tmp_path / "saved")!r})
l0.load({str(tmp_path / "saved")!r})(x)
print("tvm" in sys.modules)
"""
    ran = [
        subprocess.run(
            [sys.executable, "-c", code, seed], capture_output=True, text=True, check=True
        ).stdout.split()
        for seed in ("0", "1")
    ]
    assert ran == [["True"], ["False"]]


def test_without_a_cache(monkeypatch: pytest.MonkeyPatch, generated: list[str]) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", "off")
    for _ in range(2):
        generated.clear()
        check(mlp(0))
        assert "glue" in generated


def test_without_a_linker(cache: Path, monkeypatch: pytest.MonkeyPatch, generated: list[str]) -> None:
    monkeypatch.setattr("l0compile.lower.tvm.build.can_link", lambda target: False)
    check(mlp(0))
    assert not generated and not [path for path in cache.rglob("*") if path.is_file()]


def test_with_a_linker_that_fails(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    check(mlp(0))
    assert "/bin/false could not link" in caplog.text and "PyTorch" not in caplog.text


def test_a_damaged_cache_changes_no_answer(cache: Path, generated: list[str]) -> None:
    check(mlp(0))
    for path in cache.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[::-1])
    generated.clear()
    check(mlp(0))
    assert "glue" in generated


def test_code_that_cannot_be_made_is_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bytes:
        raise ValueError("no code today")

    monkeypatch.setattr(objects._Piece, "_compiled", fail)
    check(mlp(0))  # in PyTorch
    assert "no code today" in caplog.text
    assert not [path for path in cache.rglob("*") if path.is_file()]


def packed(model: nn.Module, x: torch.Tensor = X, dynamic: object = None) -> Program:
    captured = capture(model, (x,), dynamic_shapes=dynamic)
    return assign_layouts(optimise(captured, TARGET), lanes=TILE.lanes, rows=TILE.rows)


def key(program: Program) -> str:
    return stage_key(program, TARGET, TILE, None)


class Scaled(nn.Module):
    """A model that differs from another in one thing."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.layer = function, mlp(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.layer(x))


def test_keys_differ_where_code_could() -> None:
    functions: list[Callable[[torch.Tensor], torch.Tensor]] = [
        lambda x: x * 2.0,
        lambda x: x * 2.0000000000000004,
        lambda x: x + 2.0,
        lambda x: x.softmax(1),
        lambda x: x.softmax(2),
        lambda x: x.to(torch.float64),
        lambda x: x.to(torch.bfloat16),
        lambda x: x.transpose(0, 1),
        lambda x: x[:, 1:],
        lambda x: x[:, 2:],
    ]
    keys = [key(packed(Scaled(function).eval())) for function in functions]
    keys += [
        key(packed(mlp(0), torch.randn(3, 41, 32))),
        key(packed(mlp(0), torch.randn(3, 41, 32), {"input": {1: "n"}})),
    ]
    keys += [key(packed(mlp(0, hidden=68)))]
    assert len(set(keys)) == len(keys)
    assert key(packed(Scaled(functions[0]).eval())) == keys[0]


def test_keys_tell_the_machine_and_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    program = packed(mlp(0))
    other = load_target("x86-64-avx512" if TARGET.lanes32 != 16 else "x86-64-avx2")
    keys = {key(program), stage_key(program, other, TILE, None)}
    monkeypatch.setattr(kept_stage, "VERSIONS", ("apache-tvm 0.28",))
    keys.add(key(program))
    monkeypatch.setattr(kept_stage, "_code", lambda: "other code")
    assert len(keys | {key(program)}) == 4


def test_a_kept_stage_is_one_file() -> None:
    kept = KeptStage(b"\x7fELF\n\0\n", {"linear": "linear_0"}, ("cast",))
    assert KeptStage.of(kept.content()) == kept
