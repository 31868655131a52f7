"""What was compiled once is not generated again: by this process or another, for other weights, for other models."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from l0compile.compiler.compile import compile
from l0compile.frontend.export import capture
from l0compile.hardware.targets import Target, load_target
from l0compile.ir.program import Program
from l0compile.kernels import emit
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.token_tile import token_tile
from l0compile.lower import kept_stage
from l0compile.lower.kept_stage import KeptStage, stage_key
from l0compile.lower.tvm import objects
from l0compile.lower.tvm.skipped_passes import skipped_passes
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


KINDS = {objects._Launches: "launches", objects._Shapes: "shapes"}


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pieces that code was generated for: functions, "launches" and "shapes"."""
    found: list[str] = []
    for kind in (objects._OneFunction, objects._Launches, objects._Shapes):
        monkeypatch.setattr(kind, "compiled", _noted(kind, found))
    return found


def _noted(kind: Any, found: list[str]) -> Callable[..., bytes]:
    original = kind.compiled

    def compiled(piece: Any, target: Target, folder: Path) -> bytes:
        found.extend([KINDS[kind]] if kind in KINDS else piece.names)
        return original(piece, target, folder)  # type: ignore[no-any-return]

    return compiled


def test_other_weights_need_no_code(cache: Path, generated: list[str]) -> None:
    check(mlp(0))
    assert "launches" in generated and len(generated) > 2
    generated.clear()
    check(mlp(1))
    assert not generated


def test_layers_that_share_a_kernel(cache: Path, generated: list[str]) -> None:
    torch.manual_seed(0)
    layers = [part for _ in range(4) for part in (nn.Linear(32, 32), nn.LayerNorm(32))]
    check(nn.Sequential(*layers).eval().requires_grad_(False))
    assert len(generated) == len(set(generated)) < 8


def test_functions_have_pieces_of_their_own(cache: Path, generated: list[str]) -> None:
    model = Scaled(lambda x: (x - x.amax(1, keepdim=True)).cumsum(1).softmax(1)).eval()
    compile(model, (X,), engine="tvm", dynamic_shapes={"x": {0: "n"}})
    assert generated.count("launches") == generated.count("shapes") == 1
    kernels = [name for name in generated if name.startswith("kernel_")]
    alone = set(generated) - {*kernels, "launches", "shapes"}  # their tasks cannot be shared
    assert len(kernels) > 2 and alone and not [name for name in alone if name.startswith("reshape")]


def test_other_zeros_need_no_kernels(cache: Path, generated: list[str]) -> None:
    check(mlp(0, density=0.3))
    generated.clear()
    check(mlp(1, density=0.25))
    assert not generated


def test_code_by_other_passes_is_kept_apart() -> None:
    target = load_target("x86-64-avx2")
    function = emit(LinearSpec(8, 8, 4, 1, True, False, False, ""), token_tile(target))
    skipped = skipped_passes(function, target)
    ways = [objects._OneFunction("kernel", function, passes) for passes in (skipped, skipped[1:])]
    assert len({objects._key(piece, target) for piece in ways}) == 2


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
        assert "launches" in generated


def test_without_a_linker(cache: Path, monkeypatch: pytest.MonkeyPatch, generated: list[str]) -> None:
    monkeypatch.setattr("l0compile.lower.tvm.build.can_link", lambda target: False)
    check(mlp(0))
    assert not generated and not [path for path in cache.rglob("*") if path.is_file()]


def test_with_a_linker_that_fails(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    check(mlp(0))
    assert "/bin/false could not compile the launches" in caplog.text and "PyTorch" not in caplog.text


def test_a_damaged_cache_changes_no_answer(cache: Path, generated: list[str]) -> None:
    check(mlp(0))
    for path in cache.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[::-1])
    generated.clear()
    check(mlp(0))
    assert "launches" in generated


def test_code_that_cannot_be_made_is_not_kept(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bytes:
        raise ValueError("no code today")

    for kind in (objects._OneFunction, objects._Launches):
        monkeypatch.setattr(kind, "compiled", fail)
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


def test_keys_for_a_gpu_tell_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    program, gpu, keys = packed(mlp(0)), load_target("cuda-sm80"), set()
    for stamp in ("nvcc 13.0.88", "nvcc 13.5.37"):
        monkeypatch.setattr(kept_stage, "compiler_stamp", lambda said=stamp: said)
        keys.add(stage_key(program, gpu, gpu, None))
    assert len(keys) == 2


def test_a_kept_stage_is_one_file() -> None:
    kept = KeptStage(b"\x7fELF\n\0\n", {"linear": "linear_0"}, ("cast",))
    assert KeptStage.of(kept.content()) == kept
