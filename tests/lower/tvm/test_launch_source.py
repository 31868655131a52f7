"""Launches in C do what those of TVM do: the same numbers on any number of threads, and errors, not deadlocks."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from l0compile.frontend.export import capture
from l0compile.hardware._tvm import cc, relax, runtime, tvm
from l0compile.hardware._tvm_runtime import load_module, tvm_threads, use_all_threads
from l0compile.hardware.targets import load_target
from l0compile.kernels.token_tile import token_tile
from l0compile.lower.launch_records import parameter_names
from l0compile.lower.translate import translate
from l0compile.lower.tvm.build import Built, build, scheduled
from l0compile.lower.tvm.launch_source import LinkError, compiled, launch_source
from l0compile.lower.tvm.launches import STEPS, JointLaunch, LaunchedKernel
from l0compile.rewrite.pipeline import assign_layouts, optimise

TARGET = load_target("native")
TILE = token_tile(TARGET)


class Chain(nn.Module):
    """Layers that wait for one another, some of which read the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.left, self.right = (nn.Linear(width, width) for _ in range(3))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(x))
        return self.norm(self.left(h) * self.right(h) + x).softmax(-1)


def lowered(width: int, tokens: int, symbolic: bool) -> tuple[Any, torch.Tensor, list[Any], nn.Module]:
    """(module, input, parameters, model)."""
    torch.manual_seed(0)
    model, x = Chain(width).eval(), torch.randn(1, tokens, width)
    captured = capture(model, (x,), dynamic_shapes={"x": {1: "tokens"}} if symbolic else None)
    packed = assign_layouts(optimise(captured, TARGET), lanes=TILE.lanes, rows=TILE.rows)
    module = translate(packed, TILE).module
    parameters = [runtime.from_dlpack(packed.constants[p].detach()) for p in parameter_names(packed)]
    return module, x, parameters, model


def run(built: Built, name: str, x: torch.Tensor, parameters: list[Any]) -> torch.Tensor:
    machine = relax.VirtualMachine(built.code.module, tvm.cpu())
    found: torch.Tensor = torch.from_dlpack(machine[name](runtime.from_dlpack(x), parameters)[0])
    return found.clone()


@pytest.mark.parametrize(("width", "tokens"), [(8, 1), (24, 5), (64, 400), (200, 700)])
@pytest.mark.parametrize("symbolic", [False, True])
def test_the_same_as_launches_of_tvm(width: int, tokens: int, symbolic: bool) -> None:
    module, x, parameters, model = lowered(width, max(tokens, 2) if symbolic else tokens, symbolic)
    in_pieces, whole = (build(module, TARGET, TILE, in_pieces=both) for both in (True, False))
    assert in_pieces.plain == whole.plain
    with torch.no_grad():
        expected = model(x)
    for name in ("main", STEPS):
        found = run(in_pieces, name, x, parameters)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        for threads in (1, 2):
            with tvm_threads(threads):
                assert torch.equal(run(in_pieces, name, x, parameters), found)
                assert torch.equal(run(whole, name, x, parameters), found)
        use_all_threads()


def test_only_light_launches_stay_on_one_thread() -> None:
    attention = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    for model, light in ((nn.Linear(16, 16), True), (nn.Conv2d(3, 8, 3), False), (attention, False)):
        x = torch.randn(1, 3, 9, 9) if isinstance(model, nn.Conv2d) else torch.randn(1, 9, 16)
        args = (x, x, x) if model is attention else (x,)
        packed = assign_layouts(
            optimise(capture(model.eval(), args), TARGET), lanes=TILE.lanes, rows=TILE.rows
        )
        launches = scheduled(translate(packed, TILE).module, TARGET, TILE).launches
        assert launches and all(launch.light for launch in launches) == light


# kernels in C: one adds its share of [0, 1000) to a sum, one fails on the share that it is told
KERNELS = """
#include <stdint.h>
typedef struct { int32_t type; uint32_t padding; int64_t value; } Any;
extern void TVMFFIErrorSetRaisedFromCStr(const char *, const char *);
int __tvm_ffi_sum(void *self, const Any *given, int32_t count, Any *result) {
  int64_t share = given[count - 2].value, shares = given[count - 1].value;
  for (int64_t i = 1000 * share / shares; i < 1000 * (share + 1) / shares; i++)
    __atomic_fetch_add((int64_t *)given[0].value, i, __ATOMIC_RELAXED);
  return 0;
}
int __tvm_ffi_fail(void *self, const Any *given, int32_t count, Any *result) {
  if (given[count - 2].value != given[1].value) return 0;
  TVMFFIErrorSetRaisedFromCStr("ValueError", "no such kernel today");
  return -1;
}
"""


def library(folder: Path, *launches: JointLaunch) -> Any:
    objects = []
    for number, source in enumerate((launch_source(launches), KERNELS)):
        objects.append(folder / f"{number}.o")
        objects[-1].write_bytes(compiled(source, folder))
    cc.create_shared(str(folder / "made.so"), [str(path) for path in objects])
    return load_module(str(folder / "made.so"))


def launch(light: bool) -> JointLaunch:
    """sum(total) | fail(total, share) | sum(total)."""
    kernels = (
        LaunchedKernel("sum", (0,), False),
        LaunchedKernel("fail", (0, 1), True),
        LaunchedKernel("sum", (0,), True),
    )
    return JointLaunch("launch_0", (True, False), kernels, light)


def test_two_threads_where_the_tests_have_one() -> None:
    """The pool of threads is made once in a process, so another process has two."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "every_share"]
    done = subprocess.run(
        command, env=os.environ | {"TVM_NUM_THREADS": "2"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_every_share_is_run_and_errors_are_raised(tmp_path: Path, light: bool, threads: int) -> None:
    if threads > 1 and os.environ.get("TVM_NUM_THREADS") == "1":
        pytest.skip("one thread; test_two_threads_where_the_tests_have_one runs it with two")
    call = library(tmp_path, launch(light))["launch_0"]
    total = ctypes.c_int64(0)
    address = ctypes.cast(ctypes.byref(total), ctypes.c_void_p)
    with tvm_threads(threads):
        call(address, -1)
        assert total.value == 2 * sum(range(1000))
        for share in range(threads):
            with pytest.raises(Exception, match="no such kernel today"):
                call(address, share)  # ends, although another thread waits at the barrier
        with pytest.raises(TypeError, match="launch_0 takes 2 arguments"):
            call(address)
    use_all_threads()


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LinkError, match="could not compile the launches"):
        compiled("no C at all", tmp_path)
    monkeypatch.setenv("CXX", "/no/such/compiler")
    with pytest.raises(LinkError, match="/no/such/compiler"):
        compiled("int x;", tmp_path)
