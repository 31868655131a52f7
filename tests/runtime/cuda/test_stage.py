"""A stage for a GPU as far as it can be told without one: inputs, memory, and what a driver refuses."""

import ctypes
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import DeviceError, InputError, TargetError
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.runtime import CompiledModel, CudaStage
from l0compile.runtime.cuda import LoadedKernels

_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, *[ctypes.c_uint] * 7, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)  # fmt: skip
MODEL = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16)).eval()


@dataclass(frozen=True)
class RefusingGpu:
    """A GPU whose driver refuses every launch with a code."""

    code: int
    device = torch.device("cpu")

    def load(self, library: CudaLibrary) -> LoadedKernels:
        callback = _LAUNCH(lambda *_: self.code)
        address = ctypes.cast(callback, ctypes.c_void_p).value
        assert address is not None
        return LoadedKernels(address, tuple(range(1, len(library.kernels) + 1)), callback)

    def current(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def stream(self) -> int:
        return 0

    def finish(self, loaded: LoadedKernels, given: Any, made: Any) -> None:
        raise AssertionError("nothing was launched")

    def event(self) -> Any:
        raise AssertionError("nothing was launched")

    def hold(self, launches: int) -> None:
        raise AssertionError("nothing was launched")

    def wait(self) -> None:
        raise AssertionError("nothing was launched")

    def describe(self, code: int) -> str:
        return f"refused with {code}"


class TickingGpu(RefusingGpu):
    """A GPU that launches nothing, and whose clock goes on by a millisecond with each event."""

    def __init__(self) -> None:
        super().__init__(0)
        object.__setattr__(self, "ticks", [0])

    def finish(self, loaded: LoadedKernels, given: Any, made: Any) -> None:
        pass

    def event(self) -> Any:
        self.ticks.append(len(self.ticks))
        return Tick(self.ticks[-1])

    def hold(self, launches: int) -> None:
        pass

    def wait(self) -> None:
        pass


@dataclass(frozen=True)
class Tick:
    """An event."""

    at: int

    def elapsed_time(self, end: "Tick") -> float:
        return float(end.at - self.at)


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("l0compile.lower.cuda.library.has_nvcc", lambda: False)
        return l0.compile(MODEL, (torch.randn(4, 8),), target="cuda-sm80", dynamic_shapes=({0: "rows"},))


def stage(compiled: CompiledModel) -> CudaStage:
    found = compiled._plan.steps[0].stage
    assert isinstance(found, CudaStage)
    return found


def test_any_memory_that_pytorch_has_is_read_right(compiled: CompiledModel) -> None:
    emulated, numbers = compiled.emulated(), torch.randn(200)
    for x in (
        numbers[1:33].view(4, 8),
        torch.randn(8, 3).T,
        torch.randn(7, 16)[::2, ::2],
        -torch.randn(1, 8),
    ):
        torch.testing.assert_close(emulated(x), MODEL(x), rtol=1e-5, atol=1e-5)


def test_results_have_memory_of_their_own(compiled: CompiledModel) -> None:
    emulated, x = compiled.emulated(), torch.randn(4, 8)
    first, second = emulated(x), emulated(x + 1)
    torch.testing.assert_close(first, MODEL(x), rtol=1e-5, atol=1e-5)
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize(("code", "error", "text"), [
    (-1, InputError, "65,535 blocks"), (700, DeviceError, "refused with 700"),
])  # fmt: skip
def test_a_refusal_is_an_error_with_the_kernels_name(
    compiled: CompiledModel, code: int, error: type[Exception], text: str
) -> None:
    own = stage(compiled)
    refusing = CudaStage(own._code, own.constants, compiled.target, lambda *_: RefusingGpu(code))
    with pytest.raises(error, match=f"kernel cuda_linear.*{text}"):
        refusing([torch.randn(4, 8)])


def test_wrong_inputs_are_refused_before_anything_runs(compiled: CompiledModel) -> None:
    with pytest.raises(InputError, match="expected dtype float32"):
        compiled.emulated()(torch.randn(4, 8).double())
    with pytest.raises(InputError, match="got size 9 at axis 1"):
        compiled.emulated()(torch.randn(4, 9))


def test_launches_are_timed_function_by_function(compiled: CompiledModel) -> None:
    own, gpu = stage(compiled), TickingGpu()
    ticking = CudaStage(own._code, own.constants, compiled.target, lambda *_: gpu)
    times = ticking.times([torch.randn(4, 8)], repeats=3)
    functions = [launch.function for launch in compiled.explain().launches]
    assert [name for name, _ in times] == functions and functions[0].startswith("cuda_linear")
    assert [ms for _, ms in times] == [1.0] * len(functions)
    assert len(gpu.ticks) == 1 + 4 * 2 * len(functions)  # the first call is not counted


def test_times_of_kernels_need_the_gpu(compiled: CompiledModel) -> None:
    with pytest.raises(TargetError, match="needs an NVIDIA GPU"):
        compiled.explain(measure=True)
    with pytest.raises(TargetError, match="an emulation's times"):
        compiled.emulated().explain(measure=True)
