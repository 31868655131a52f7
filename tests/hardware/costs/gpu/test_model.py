"""The analytic model: what must hold of any prediction, and that it agrees with published times."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import TargetError
from l0compile.hardware.costs import GpuModel, KernelWorkload, Prediction, gpu_costs
from l0compile.hardware.costs.gpu import OURS, VENDOR
from l0compile.hardware.targets import list_targets, load_target

GPUS = [name for name in list_targets() if name.startswith("cuda")]
LAYER = KernelWorkload("linear", (4096, 4096), (64, 64), 0.1, 4096, dtype="bfloat16")


def ms(work: KernelWorkload, name: str = "cuda-sm90") -> float:
    found = GpuModel(load_target(name)).predict(work)
    assert found is not None
    return found.mid


def test_published_times_lie_in_the_band() -> None:
    command = [sys.executable, "benchmarks/gpu_predictions.py", "--check"]
    done = subprocess.run(command, cwd=Path(__file__).parents[4], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("inside") >= 31 and done.stdout.count("OUTSIDE") == 1


@given(
    st.sampled_from(GPUS),
    st.sampled_from([16, 32, 64, 128]),
    st.floats(0.02, 0.9),
    st.sampled_from([1, 16, 200, 4096]),
    st.sampled_from(["float32", "float16", "int8"]),
)
def test_fewer_blocks_never_take_longer(
    name: str, block: int, density: float, tokens: int, dtype: str
) -> None:
    work = KernelWorkload("linear", (1024, 1024), (block, block), density, tokens, dtype=dtype)
    assert ms(work, name) <= ms(replace(work, density=min(1.0, 1.1 * density)), name) * 1.001


@given(st.sampled_from(GPUS), st.sampled_from([None, (32, 32), (64, 64)]), st.integers(1, 5000))
def test_the_band_holds_the_middle_and_nothing_is_quicker_than_a_launch(
    name: str, block: tuple[int, int] | None, tokens: int
) -> None:
    target = load_target(name)
    work = KernelWorkload("linear", (768, 768), block, 1.0 if block is None else 0.2, tokens)
    found = GpuModel(target).predict(work)
    assert found is not None and target.gpu is not None
    assert found.low < found.mid < found.high
    assert found.mid > target.gpu.launch_us / 1e3
    assert str(found).startswith("predicted ")


def test_larger_blocks_are_quicker_at_one_density_and_tensor_cores_pay() -> None:
    times = [ms(replace(LAYER, block=(size, size))) for size in (16, 32, 64, 128)]
    assert times == sorted(times, reverse=True)
    assert ms(LAYER) < ms(replace(LAYER, dtype="float32"))
    assert ms(replace(LAYER, dtype="tf32")) < ms(replace(LAYER, dtype="float32"))


def test_warpgroups_pay_where_they_multiply() -> None:
    """Dense layers of 16-bit numbers on sm_90a: not TF32, few tokens, attention, or another architecture."""

    def gain(work: KernelWorkload, name: str = "cuda-sm90") -> float:
        return by_warps(work, name) / ms(work, name)

    def by_warps(work: KernelWorkload, name: str) -> float:
        found = GpuModel(load_target(name), replace(OURS, warpgroups=False)).predict(work)
        assert found is not None
        return found.mid

    dense = replace(LAYER, block=None, density=1.0)
    heads = KernelWorkload("attention", (16, 16, 64, 64, 8192, 8192), tokens=8192, dtype="bfloat16")
    assert gain(dense) > 1.1
    assert [gain(one) for one in (replace(dense, dtype="tf32"), replace(dense, tokens=16), heads)] == [
        1,
        1,
        1,
    ]
    assert gain(dense, "cuda-sm100") == gain(dense, "cuda-sm80") == 1


def test_long_rows_take_longer_than_equal_ones() -> None:
    model = GpuModel(load_target("cuda-sm80"))
    work = replace(LAYER, tokens=128)
    equal, ragged = [6] * 64, [2] * 60 + [66] * 4
    assert sum(equal) == sum(ragged)
    first, second = model.predict(work, equal), model.predict(work, ragged)
    assert first is not None and second is not None and second.mid > first.mid


def test_few_tokens_wait_for_memory_and_many_for_work() -> None:
    model = GpuModel(load_target("cuda-sm80"), VENDOR)
    one = model.predict(KernelWorkload("linear", (14336, 4096), tokens=1, dtype="bfloat16"))
    many = model.predict(KernelWorkload("linear", (14336, 4096), tokens=8192, dtype="bfloat16"))
    assert one is not None and many is not None
    assert (one.bound, many.bound) == ("memory", "multiplications")
    assert model.moved(1000).bound == "launch"


def test_half_of_causal_attention_and_of_listed_keys_is_not_computed() -> None:
    whole = KernelWorkload("attention", (16, 16, 64, 64, 8192, 8192), tokens=8192, dtype="bfloat16")
    assert ms(replace(whole, variant="causal")) == pytest.approx(ms(whole) / 2, rel=0.05)
    listed = KernelWorkload("block_attention", (*whole.shape, 128, 128), None, 0.1, 8192, dtype="bfloat16")
    assert ms(listed) == pytest.approx(0.1 / OURS.sparse_attention * ms(whole), rel=0.1)


@pytest.mark.parametrize(
    "work",
    [
        KernelWorkload("conv", (3, 3)),
        replace(LAYER, dtype="float64"),
        replace(LAYER, shape=()),
        replace(LAYER, density=0.0),
    ],
)
def test_unknown_work_is_not_predicted(work: KernelWorkload) -> None:
    assert GpuModel(load_target("cuda-sm90")).predict(work) is None


def test_a_cpu_is_not_predicted() -> None:
    with pytest.raises(TargetError, match="expected a GPU, got kind 'llvm'"):
        GpuModel(load_target("x86-64-avx2")).predict(LAYER)


def test_costs_of_a_gpu_are_predictions_with_a_band() -> None:
    found = gpu_costs(load_target("cuda-sm90")).estimate(LAYER)
    assert found is not None and found.source == "predicted"
    assert found.low is not None and found.high is not None and found.low < found.ms < found.high
    assert gpu_costs(load_target("cuda-sm90")).schedule(LAYER, ()) == ()


def test_predictions_add_up() -> None:
    short, long = Prediction(1, 2, 3, "memory"), Prediction(2, 4, 6, "launch")
    assert short + long == Prediction(3, 6, 9, "launch")
