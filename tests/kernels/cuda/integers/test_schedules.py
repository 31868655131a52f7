"""Schedules of the linear kernels of 8-bit integers: which are legal, and what is refused; which calls they compute."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import fx

from l0compile.errors import BuildError, ScheduleError
from l0compile.hardware.targets import list_targets, load_target
from l0compile.kernels import kernel_call
from l0compile.kernels.cuda.integers.code import cuda_int8_linear
from l0compile.kernels.cuda.integers.schedules import (
    check_integer_schedule,
    default_integer_schedule,
    legal_integer_schedules,
)
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from l0compile.kernels.cuda.toolchain import cuda_source

SM80 = load_target("cuda-sm80")
SPEC = CudaIntegerLinearSpec(96, 32, 64, 4, True, False, True, "")
GPUS = [name for name in list_targets() if name.startswith("cuda")]


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("few", [False, True])
def test_the_default_is_legal_on_every_architecture(name: str, few: bool) -> None:
    target = load_target(name)
    for rows in (0, 16, 48, 64, 128, 256):
        spec = replace(SPEC, rows=rows, chunks=rows // 16, few=few)
        legal = legal_integer_schedules(spec, target)
        assert legal[0] == default_integer_schedule(spec, target) and len(legal) > 10
        for schedule in legal:
            check_integer_schedule(spec, target, schedule)


def test_each_output_of_a_sparse_tile_has_a_thread() -> None:
    one_warp = CudaLinearSchedule(16, 64, 16, 1, 1, 2)
    check_integer_schedule(replace(SPEC, rows=0), SM80, replace(one_warp, outputs=128))
    with pytest.raises(ScheduleError, match="a thread for each of the 64 outputs"):
        cuda_int8_linear(SPEC, SM80, one_warp)
    with pytest.raises(BuildError, match="a multiple of 16, got 24x64"):
        cuda_int8_linear(replace(SPEC, rows=24), SM80)


@pytest.mark.parametrize(("name", "shape"), [("cuda-sm80", "m16n8k32"), ("cuda-sm75", "m8n8k16")])
def test_the_instructions_of_an_architecture(name: str, shape: str) -> None:
    target = load_target(name)
    source = cuda_source(cuda_int8_linear(SPEC, target), target)
    assert f"mma.sync.aligned.{shape}.row.col.s32.u8.s8.s32" in source
    assert ("cp.async" in source) == (name == "cuda-sm80") and ".trans" not in source


def call(rows: int, inverse: bool, *data: torch.Tensor) -> Any:
    graph = fx.Graph()

    def given(value: torch.Tensor | None) -> fx.Node | None:
        if value is None:
            return None
        node = graph.placeholder("x")
        node.meta["val"] = value
        return node

    n, blocks = 64, (*data, *[None] * 4)[:4]
    ends = torch.zeros(n, dtype=torch.int32), torch.ones(n), None, None, torch.ones(n) if inverse else None
    tensors = [given(value) for value in (torch.zeros(2, 5, 8, dtype=torch.int32), *blocks, *ends)]
    target = torch.ops.l0compile.rows_int8_linear.default
    return kernel_call(graph.call_function(target, (*tensors, n, rows, "relu", 9)), "cuda")


def test_what_a_call_asks_for() -> None:
    dense = call(10, False, torch.zeros(64, 8, dtype=torch.int32))
    assert dense.spec == CudaIntegerLinearSpec(64, 8, 0, 0, False, False, False, "relu", None, few=True)
    assert dense.rows_in and dense.rows_out and len(dense.tensors) == 4
    blocks = torch.zeros(3, 2, 32, 4, dtype=torch.int32)
    places = (
        torch.zeros(3, dtype=torch.int32),
        torch.zeros(3, dtype=torch.int32),
        torch.zeros(2, dtype=torch.int32),
    )
    sparse = call(4096, True, blocks, *places)
    assert sparse.spec == CudaIntegerLinearSpec(64, 8, 32, 2, False, False, True, "relu", 9)
    assert len(sparse.tensors) == 8
