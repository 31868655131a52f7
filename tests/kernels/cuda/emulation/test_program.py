"""PrimFuncs whose CUDA source runs in the emulation: launches, sizes and results come from the function itself."""

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from l0compile.errors import BuildError, InputError
from l0compile.hardware._tvm import s_tir, te, tirx
from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.emulation.faults import OutOfBounds, Race
from l0compile.kernels.cuda.emulation.program import cuda_program
from l0compile.kernels.cuda.emulation.run import emulate

TARGET = load_target("cuda-sm80")


def bound(function: Any, threads: int = 64) -> Any:
    """``function`` with the loops of its last block over blocks and threads."""
    schedule = s_tir.Schedule(function)
    block = schedule.get_sblock("y")
    outer, inner = schedule.split(schedule.fuse(*schedule.get_loops(block)), [None, threads])
    schedule.bind(outer, "blockIdx.x")
    schedule.bind(inner, "threadIdx.x")
    return schedule.mod["main"]


def scaled(dtype: str) -> Any:
    n = te.var("n", "int64")
    x = te.placeholder((n, 6), dtype, "x")
    two = tirx.const(2.0, dtype)
    return bound(te.create_prim_func([x, te.compute((n, 6), lambda i, j: x[i, j] * two + x[i, 5 - j], "y")]))


@pytest.mark.parametrize(
    ("dtype", "numpy_dtype"),
    [("float32", np.float32), ("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)],
)
def test_elementwise_with_a_symbolic_size(dtype: str, numpy_dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((37, 6)).astype(numpy_dtype)
    result = emulate(scaled(dtype), TARGET, {"x": x})
    assert result["y"].dtype == numpy_dtype
    expected = x.astype(np.float32) * 2 + x[:, ::-1].astype(np.float32)
    rounding = {np.float32: 1e-6, np.float16: 1e-3}.get(numpy_dtype, 8e-3)
    np.testing.assert_allclose(result["y"].astype(np.float32), expected, rtol=rounding, atol=rounding)


def test_tensors_are_taken_as_they_are() -> None:
    x = torch.randn(5, 6, dtype=torch.bfloat16)
    y = emulate(scaled("bfloat16"), TARGET, {"x": x})["y"]
    np.testing.assert_allclose(
        y.astype(np.float32), (x * 2 + x.flip(1)).float().numpy(), rtol=1e-2, atol=1e-2
    )


def row_sums() -> Any:
    """Sums of rows, 32 threads to a row: TVM adds within a warp by shuffles."""
    n = te.var("n", "int64")
    x = te.placeholder((n, 96), "float32", "x")
    k = te.reduce_axis((0, 96), "k")
    schedule = s_tir.Schedule(te.create_prim_func([x, te.compute((n,), lambda i: te.sum(x[i, k], k), "y")]))
    row, column = schedule.get_loops(schedule.get_sblock("y"))
    _, lane = schedule.split(column, [None, 32])
    schedule.bind(row, "blockIdx.x")
    schedule.bind(lane, "threadIdx.x")
    return schedule.mod["main"]


def test_a_reduction_across_threads() -> None:
    x = np.random.default_rng(1).standard_normal((7, 96)).astype(np.float32)
    program = cuda_program(row_sums(), TARGET)
    assert "__shfl_down_sync" in program.source
    np.testing.assert_allclose(program.run({"x": x})["y"], x.sum(1), rtol=1e-4, atol=1e-5)


def product(size: int = 32) -> Any:
    """A matrix product with tiles in shared memory; TVM puts the barriers."""
    x, w = te.placeholder((size, size), "float32", "x"), te.placeholder((size, size), "float32", "w")
    k = te.reduce_axis((0, size), "k")
    y = te.compute((size, size), lambda i, j: te.sum(x[i, k] * w[j, k], k), "y")
    schedule = s_tir.Schedule(te.create_prim_func([x, w, y]))
    block = schedule.get_sblock("y")
    i, j, k = schedule.get_loops(block)
    i0, i1 = schedule.split(i, [None, 16])
    j0, j1 = schedule.split(j, [None, 8])
    k0, k1 = schedule.split(k, [None, 8])
    schedule.reorder(i0, j0, i1, j1, k0, k1)
    for loop, thread in ((i0, "blockIdx.y"), (j0, "blockIdx.x"), (i1, "threadIdx.y"), (j1, "threadIdx.x")):
        schedule.bind(loop, thread)
    for which in (0, 1):
        copy = schedule.cache_read(block, which, "shared")
        schedule.compute_at(copy, k0)
        loops = schedule.get_loops(copy)[-2:]
        _, ty, tx = schedule.split(schedule.fuse(*loops), [None, 16, 8])
        schedule.bind(ty, "threadIdx.y")
        schedule.bind(tx, "threadIdx.x")
    schedule.decompose_reduction(block, k0)
    return schedule.mod["main"]


def test_tiles_in_shared_memory_and_a_removed_barrier() -> None:
    rng = np.random.default_rng(2)
    arrays = {name: rng.standard_normal((32, 32)).astype(np.float32) for name in "xw"}
    program = cuda_program(product(), TARGET)
    np.testing.assert_allclose(program.run(arrays)["y"], arrays["x"] @ arrays["w"].T, rtol=1e-4, atol=1e-5)
    barriers = program.source.count("__syncthreads();")
    assert barriers >= 2
    for kept in range(barriers):
        parts = program.source.split("__syncthreads();")
        without = "__syncthreads();".join(parts[: kept + 1]) + "__syncthreads();".join(parts[kept + 1 :])
        with pytest.raises(Race):
            replace(program, source=without).run(arrays)
    short = program.source.replace("k_0 < 4", "k_0 < 5")
    assert short != program.source
    with pytest.raises(OutOfBounds, match="which has 4096"):
        replace(program, source=short).run(arrays)


def two_steps() -> Any:
    n = te.var("n", "int64")
    x = te.placeholder((n,), "float32", "x")
    middle = te.compute((n,), lambda i: x[i] + 1.0, "middle")
    y = te.compute((n,), lambda i: middle[n - 1 - i] * 2.0, "y")
    schedule = s_tir.Schedule(te.create_prim_func([x, y]))
    for name in ("middle", "y"):
        outer, inner = schedule.split(schedule.get_loops(schedule.get_sblock(name))[0], [None, 32])
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(inner, "threadIdx.x")
    return schedule.mod["main"]


def test_two_launches_with_a_workspace_between() -> None:
    x = np.random.default_rng(3).standard_normal(75).astype(np.float32)
    program = cuda_program(two_steps(), TARGET)
    assert len(program.calls) == 2 and len(program.workspaces) == 1
    result = program.run({"x": x})
    assert set(result) == {"x", "y"}
    np.testing.assert_allclose(result["y"], (x[::-1] + 1) * 2, rtol=1e-6)


def test_arrays_that_do_not_fit_are_refused() -> None:
    program = cuda_program(scaled("float32"), TARGET)
    with pytest.raises(InputError, match="got others: \\['z'\\]"):
        program.run({"z": np.zeros(3)})
    with pytest.raises(InputError, match="array 'x': expected float32 with 2 dimensions, got float64"):
        program.run({"x": np.zeros((3, 6))})
    with pytest.raises(InputError, match=r"array 'x': expected shape \(3, 6\), got \(3, 5\)"):
        program.run({"x": np.zeros((3, 5), np.float32)})
    with pytest.raises(InputError, match="size 'n' is shown by no array"):
        program.run({})
    assert np.isnan(program.run({}, {"n": 3}, orders=(("forward", 0),))["y"]).all()


def test_a_loop_on_the_host_is_no_program() -> None:
    x = te.placeholder((64,), "float32", "x")
    unscheduled = te.create_prim_func([x, te.compute((64,), lambda i: x[i] + 1.0, "y")])
    with pytest.raises(BuildError, match="expected a kernel"):
        cuda_program(unscheduled, TARGET)
