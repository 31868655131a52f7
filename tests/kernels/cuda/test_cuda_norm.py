"""Norms of CUDA, executed by the emulation, against their operators in float64."""

from dataclasses import replace

import pytest
import torch

from l0compile.hardware.targets import load_target
from l0compile.kernels.cuda.emulation.faults import KernelFault
from l0compile.kernels.cuda.emulation.program import cuda_program
from l0compile.kernels.cuda.emulation.run import emulate
from l0compile.kernels.cuda.norm import CudaNormSpec, cuda_norm
from tests.kernels.cuda.emulation.mutants import Mutant

ops, SM80 = torch.ops.l0compile, load_target("cuda-sm80")
# As a share of the largest number: sums in another order; the rounding of a result; that of operands is in both.
LIMITS = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}


def spec(features: int, dtype: str = "float32", centred: bool = True, **others: object) -> CudaNormSpec:
    given = {"weight": True, "bias": centred, "width": features, **others}
    return CudaNormSpec(features, 1e-5, centred, dtype=dtype, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "case",
    [
        spec(3),  # less than a warp
        spec(96, "float16"),
        spec(700, "bfloat16", centred=False),  # several warps, the last not full
        spec(1024, weight=False, bias=False),
        spec(40, width=64, removed_mean=0.3, removed_squares=2.0),
        spec(40, centred=False, width=64, removed_squares=2.0),
    ],
    ids=str,
)  # fmt: skip
def test_a_norm_is_what_its_operator_is(case: CudaNormSpec) -> None:
    torch.manual_seed(0)
    kind = getattr(torch, case.dtype)
    x = (3 * torch.randn(5, case.features) + 1).to(kind)
    given = {"x": x}
    for name in ("weight", "bias"):
        if getattr(case, name):
            given[name] = torch.randn(case.features).to(kind)
    found = emulate(cuda_norm(case), load_target("cuda-sm80"), given)["y"]
    wide = {name: value.double() for name, value in given.items()}
    if case.centred:
        expected = ops.compacted_layer_norm(
            wide["x"], wide.get("weight"), wide.get("bias"), case.eps, case.width, case.removed_mean,
            case.removed_squares,
        )  # fmt: skip
    else:
        expected = ops.compacted_rms_norm(
            wide["x"], wide.get("weight"), case.eps, case.width, case.removed_squares
        )
    gap = (torch.from_numpy(found.astype("float64")) - expected).abs().max() / expected.abs().max()
    assert gap < LIMITS[case.dtype]


@pytest.mark.parametrize(("dtype", "weight"), [("float16", True), ("bfloat16", False)])
def test_a_narrow_norm_rounds_where_its_operator_does(dtype: str, weight: bool) -> None:
    torch.manual_seed(0)
    kind, features = getattr(torch, dtype), 300
    given = {"x": (3 * torch.randn(5, features) + 1).to(kind)}
    if weight:
        given["weight"] = torch.randn(features)
    given["scale"] = torch.randn(features).to(kind)
    case = spec(features, dtype, centred=False, weight=weight, wide_weight=True, scale=True)
    found = torch.from_numpy(emulate(cuda_norm(case), load_target("cuda-sm80"), given)["y"].astype("float64"))
    expected = ops.narrow_rms_norm(given["x"], given.get("weight"), given["scale"], case.eps, features, 0.0)
    gap = (found - expected.double()).abs() / expected.double().abs().clamp(min=1e-3)
    # Sums in another order may round a number to its neighbour, and no more than a few of them.
    assert gap.max() <= 1.01 * torch.finfo(kind).eps and (gap > 0).float().mean() < 0.02


def test_a_row_has_as_many_threads_as_it_can_feed() -> None:
    assert [spec(n).threads for n in (1, 256, 257, 768, 4096, 100_000)] == [32, 32, 64, 128, 512, 1024]


# A pattern of the source of a narrow norm, what it becomes, and the number of the place.
MUTANTS = {
    "the result is not rounded before the scale": (
        r"= ptx_from_float16\(ptx_to_float16\((.*)\)\);",
        r"= \1;",
        None,
    ),
    "a row is not squared": (r"(_ptr(?:_\d+)?\[0\]) \* \1", r"\1", 0),
    "a step of the sum over lanes is missing": (r"__shfl_xor_sync\((.*?), 8, 32\)", "0.0f", 0),
    "no barrier before the warps' sums are read": (r"__syncthreads\(\);", ";", 0),
    "the scale of another channel": (r"scale_ptr\[", "scale_ptr[1 ^ ", 0),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if place else []) for place, name in enumerate(MUTANTS)],
)
def test_faults_planted_in_the_source_are_found(name: str) -> None:
    torch.manual_seed(0)
    case = spec(300, "float16", centred=False, weight=False, wide_weight=True, scale=True)
    program = cuda_program(cuda_norm(case), SM80)
    given = {"x": (3 * torch.randn(5, 300) + 1).half(), "scale": torch.randn(300).half()}
    expected = ops.narrow_rms_norm(given["x"], None, given["scale"], case.eps, 300, 0.0).double()

    def wrong(source: str) -> bool:
        try:
            found = torch.from_numpy(replace(program, source=source).run(given)["y"].astype("float64"))
        except KernelFault:
            return True
        gap = (found - expected).abs() / expected.abs().clamp(min=1e-3)
        return bool(gap.max() > 1.01 * torch.finfo(torch.float16).eps or (gap > 0).float().mean() >= 0.02)

    assert not wrong(program.source) and wrong(Mutant(*MUTANTS[name]).planted(program.source))
