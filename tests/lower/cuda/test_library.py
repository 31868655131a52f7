"""The library of a program for a GPU: its host code, run with a driver that only notes launches."""

import ctypes
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import ArtifactError, MissingDependency, TargetError
from l0compile.kernels.cuda.toolchain import has_nvcc
from l0compile.lower.cuda.library import CudaLibrary, HostError
from l0compile.runtime import CudaStage
from l0compile.runtime.cuda.driver import NvidiaGpu
from tests.lower.cuda.conftest import for_gpu

_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, *[ctypes.c_uint] * 7, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)  # fmt: skip


@dataclass
class NotingDriver:
    """What cuLaunchKernel was called with; it answers with ``code``."""

    code: int = 0
    launches: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.callback = _LAUNCH(self._note)

    def _note(self, kernel: int, *rest: Any) -> int:
        self.launches.append((kernel, *rest[:6]))
        return self.code

    @property
    def address(self) -> int:
        found = ctypes.cast(self.callback, ctypes.c_void_p).value
        assert found is not None
        return found


@pytest.fixture(scope="module")
def library() -> CudaLibrary:
    layer = nn.Sequential(nn.Linear(32, 48), nn.LayerNorm(48))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("l0compile.lower.cuda.library.has_nvcc", lambda: False)
        compiled = for_gpu(layer, (torch.randn(3, 5, 32),), dynamic=({0: "batch", 1: "tokens"},))
    stage = compiled._plan.steps[0].stage
    assert isinstance(stage, CudaStage)
    return stage._code


def run(library: CudaLibrary, driver: NotingDriver, sizes: list[int]) -> None:
    places = list(range(1 << 20, (1 << 20) + 16))
    handles = list(range(1, len(library.kernels) + 1))
    library.run(driver.address, handles, 0, sizes, 1 << 30, places, places)


def test_it_tells_shapes_and_memory_from_sizes(library: CudaLibrary) -> None:
    assert library.sizes([(7, 9, 32)]) == [7, 9]
    assert library.result_shapes([7, 9]) == [(7, 9, 48)]
    assert library.workspace([7, 9]) >= 7 * 9 * 48 * 4
    assert library.workspace([1, 1]) % 256 == 0
    assert not library.machine_code and "__global__" in library.source


def test_grids_follow_the_sizes(library: CudaLibrary) -> None:
    driver = NotingDriver()
    run(library, driver, [7, 9])
    norm = next(n for n, fact in enumerate(library.kernels, 1) if fact.name.startswith("norm"))
    assert (norm, 63, 1, 1, 32, 1, 1) in driver.launches
    assert len(driver.launches) == len(library.kernels) == 2


def test_a_grid_without_blocks_is_not_launched(library: CudaLibrary) -> None:
    driver = NotingDriver()
    run(library, driver, [0, 9])
    assert all(min(launch[1:]) > 0 for launch in driver.launches)
    assert len(driver.launches) < len(library.kernels)


def test_what_the_driver_refuses_is_an_error_with_the_kernels_name(library: CudaLibrary) -> None:
    with pytest.raises(HostError, match=library.kernels[0].name) as caught:
        run(library, NotingDriver(code=700), [7, 9])
    assert caught.value.code == 700


def test_a_grid_that_no_gpu_has_is_not_launched(library: CudaLibrary) -> None:
    driver = NotingDriver()
    with pytest.raises(HostError) as caught:
        run(library, driver, [1 << 20, 1 << 20])
    assert caught.value.code == -1


def test_without_nvcc_a_gpu_has_nothing_to_run(library: CudaLibrary) -> None:
    with pytest.raises(MissingDependency, match="compiled without nvcc"):
        NvidiaGpu(torch.device("cuda", 0)).load(library)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is not installed")
def test_a_model_is_saved_and_explained_where_it_cannot_run(tmp_path: Any) -> None:
    compiled = l0.compile(nn.Linear(32, 16).eval(), (torch.randn(3, 32),), target="cuda-sm90")
    assert f"needs an NVIDIA GPU ({compiled.target.cpu})" in str(compiled.explain())
    assert [launch.function for launch in compiled.explain().launches] == ["cuda_linear_0"]
    with pytest.raises(TargetError, match="needs an NVIDIA GPU"):
        compiled(torch.randn(3, 32))
    compiled.save(tmp_path / "model")
    library = CudaLibrary((tmp_path / "model" / "lib.so").read_bytes())
    assert library.machine_code[:4] == b"\x7fELF"
    with pytest.raises(ArtifactError, match="needs an NVIDIA GPU"):
        l0.load(tmp_path / "model")
    with pytest.raises(TargetError, match="cannot run here"):
        compiled.profile()
    with pytest.raises(TargetError, match="expected a model for a GPU"):
        l0.compile(nn.Linear(8, 4).eval(), (torch.randn(3, 8),)).emulated()
