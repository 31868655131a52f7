"""Tuning for GPUs, as far as it needs none: what is built, what is chosen to be timed, and where records hold."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import DeviceError, TargetError
from l0compile.hardware.costs import (
    CostKey,
    CostPlace,
    CostRecord,
    Database,
    KernelWorkload,
    gpu_costs,
)
from l0compile.hardware.targets import Card, load_target
from l0compile.kernels.costs import counted_kernels, place_of
from l0compile.kernels.cuda.toolchain import has_nvcc
from l0compile.kernels.definition import schedule_data
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.measurement.device import check_remote, device_and_target
from l0compile.measurement.tune import model_workloads, tune
from l0compile.measurement.tune.gpu_kernels import build_gpu_kernel
from l0compile.measurement.tune.job import TuningJob
from l0compile.measurement.tune.libraries import Libraries
from l0compile.measurement.tune.operands import operands
from l0compile.measurement.tune.space import candidates
from l0compile.runtime import CudaStage
from tests.zoo.encoders import MODELS

SM80 = load_target("cuda-sm80")
FEW = KernelWorkload("linear", (72, 304), tokens=3, dtype="float16")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture
def a100(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As where there is an A100; returns the file of its records."""
    card = Card("NVIDIA A100-SXM4-80GB", "sm_80", 81920, "570.1")
    module = sys.modules[
        CostPlace.__module__.replace("record", "place")
    ]  # its name is also that of a function
    monkeypatch.setattr(module, "host_supports", lambda *_: None)
    monkeypatch.setattr(module, "read_cards", lambda: (card,))
    monkeypatch.setenv("L0COMPILE_COSTS", str(tmp_path / "costs.sqlite"))
    return tmp_path / "costs.sqlite"


def record(work: KernelWorkload, ms: float, **schedule: int) -> CostRecord:
    here = place_of(SM80, work.op)
    assert here is not None
    default = candidates(work, SM80)[0]
    return CostRecord(CostKey(work, here), schedule_data(replace(default, **schedule)), ms)


@without_gpu
def test_without_a_card_the_error_says_what_to_do(tmp_path: Path) -> None:
    with (
        Database(tmp_path / "db") as database,
        pytest.raises(
            TargetError, match=r"needs an NVIDIA GPU \(sm_80\).*rpc://HOST:PORT/KEY\?target=cuda-sm80"
        ),
    ):
        tune([FEW], SM80, database)


def test_a_card_and_a_device_have_places_of_their_own(a100: Path) -> None:
    here = place_of(SM80, "linear")
    assert here is not None and here.device == "NVIDIA A100-SXM4-80GB; sm_80" and here.threads == 108
    assert "nvcc" in here.versions and "cuda_linear" in here.versions
    _, there = device_and_target("rpc://box:9190/gpu?target=cuda-sm80")
    found = place_of(there, "linear")
    assert found is not None and found.device == "device gpu; sm_80"


def test_whole_models_are_not_timed_through_a_tracker() -> None:
    _, there = device_and_target("rpc://box:9190/gpu?target=cuda-sm90")
    with pytest.raises(DeviceError, match="run the same command on the machine with the GPU"):
        check_remote(there)


def test_measured_times_go_before_predicted_ones(a100: Path) -> None:
    kernels = counted_kernels(SM80.core, "cuda")
    before = gpu_costs(SM80, kernels).estimate(FEW)
    assert before is not None and before.source == "predicted"
    with Database(a100) as database:
        database.add([record(FEW, 0.5), record(FEW, 0.25, splits=4)])
    costs = gpu_costs(SM80, kernels)
    found, other = costs.estimate(FEW), costs.estimate(replace(FEW, tokens=4096))
    assert found is not None and (found.ms, found.source) == (0.25, "measured")
    assert other is not None and other.source == "predicted"
    sparse = replace(FEW, block=(32, 32), density=0.5)
    guess, plain = costs.estimate(sparse), gpu_costs(SM80).estimate(sparse)
    assert guess is not None and plain is not None and guess.source == "predicted"
    # As far off as the dense layer was: else a block format would win by a prediction that is too good.
    assert guess.ms / plain.ms == pytest.approx(0.25 / before.ms)


def test_a_split_that_was_quicker_is_lowered_and_computed_right(
    a100: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thread blocks share k, and another kernel adds up what they computed, from memory that the host code gives."""
    monkeypatch.setattr("l0compile.lower.cuda.library.has_nvcc", lambda: False)
    monkeypatch.setenv("L0COMPILE_CACHE", "off")
    with Database(a100) as database:
        database.add([record(FEW, 0.5), record(FEW, 0.25, splits=4)])
    torch.manual_seed(0)
    model = (
        nn.Sequential(nn.Linear(304, 72), nn.Softmax(-1), nn.Linear(72, 304), nn.Linear(304, 72))
        .eval()
        .half()
    )
    x = torch.randn(3, 304).half()
    compiled = l0.compile(model, (x,), target="cuda-sm80", dynamic_shapes=({0: "tokens"},), verify=False)
    stage = compiled._plan.steps[0].stage
    assert isinstance(stage, CudaStage)
    assert [name for name in stage.kernel_names if "linear" in name] == [
        "cuda_linear_0_kernel", "cuda_linear_0_kernel_1", "cuda_linear_1_kernel",
    ]  # fmt: skip
    sums = 4 * 3 * 72 * 4  # bytes of four parts; both calls of the kernel have them in the same memory
    assert stage._code.workspace([3]) < 2 * sums
    emulated = compiled.emulated()
    for tokens in (1, 3, 20):
        given = torch.randn(tokens, 304).half()
        torch.testing.assert_close(emulated(given), model(given), rtol=2e-3, atol=2e-3)


@pytest.mark.skipif(not has_nvcc(), reason="nvcc is not installed")
@pytest.mark.parametrize(
    "work",
    [
        FEW,
        pytest.param(
            KernelWorkload("linear", (64, 96), (32, 32), 0.5, 40, "gelu+residual", "float16"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            KernelWorkload(
                "attention", (4, 2, 32, 16, 9, 33), tokens=18, variant="causal+mask", dtype="float32"
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=str,
)
def test_what_is_timed_is_built_and_computes_what_it_should(work: KernelWorkload, tmp_path: Path) -> None:
    default = candidates(work, SM80)[0]
    chosen = replace(default, splits=4) if work == FEW else default
    facts = build_gpu_kernel(work, chosen, SM80, tmp_path / "kernel.so")
    assert facts["spills"] == 0 and facts["registers"] > 16 and facts["warps"] >= 2
    stage = CudaStage(CudaLibrary((tmp_path / "kernel.so").read_bytes()), {}, SM80).emulated()
    (arguments,) = operands(work, SM80, torch.as_tensor)
    (found,) = stage(arguments[:-1])
    assert found.shape == arguments[-1].shape and found.isfinite().all() and found.abs().max() > 0


def test_what_the_compiler_tells_chooses_what_is_timed(tmp_path: Path) -> None:
    work = KernelWorkload("linear", (256, 256), tokens=64, dtype="float16")
    default, *others = candidates(work, SM80)
    key = CostKey(work, CostPlace("a card", 108, "1"))
    libraries = Libraries(tmp_path, SM80, SM80, 1.0)
    for number, schedule in enumerate((default, *others)):
        verdict: dict[str, object] = {"spills": 0, "registers": 64, "blocks": 1, "warps": 8}
        verdict |= {"warps": 2} if number % 2 else {}
        verdict |= {"spills": 4} if number == 2 else {}
        (libraries.path((work, schedule)).with_suffix(".json")).write_text(
            json.dumps({"error": "no code"} if number == 1 else verdict)
        )
    chosen = libraries.worth_timing(TuningJob(key, (default, *others)), 4)
    failed = {others[0], others[1]}  # no code, and spilled registers
    assert chosen.schedules[0] == default and failed < {*chosen.schedules} and len(chosen.schedules) == 6
    best = [s for s in chosen.schedules if s != default and s not in failed]
    assert all(others.index(schedule) % 2 for schedule in best)  # those with 8 warps
    assert libraries.failure((work, others[1])) == "stores 4 bytes of registers to the stack"
    assert libraries.worth_timing(TuningJob(key, (default, *others)), 10_000).schedules == (default, *others)


def test_the_kernels_of_a_model_are_those_of_the_gpu() -> None:
    bert = next(model for model in MODELS if model.name == "bert")
    args, kwargs = bert.inputs()
    works = model_workloads(bert.build(), args, SM80, bert.dynamic_shapes, kwargs)
    assert {work.op for work in works} == {"linear", "attention"}
    assert any(work.variant == "gelu" for work in works) and any(work.words == ["mask"] for work in works)


def test_small_tiles_promise_more_where_there_are_few_tokens(tmp_path: Path) -> None:
    """Large ones would leave most multiprocessors idle."""
    libraries = Libraries(tmp_path, SM80, SM80, 1.0)
    best = {}
    for tokens in (64, 16384):
        work = KernelWorkload("linear", (768, 768), tokens=tokens, dtype="float16")
        schedules = candidates(work, SM80)[:128]
        for schedule in schedules:
            facts = {"spills": 0, "registers": 128, "blocks": 2, "warps": 2 * schedule.threads // 32}
            libraries.path((work, schedule)).with_suffix(".json").write_text(json.dumps(facts))
        key = CostKey(work, CostPlace("a card", 108, "1"))
        best[tokens] = libraries.worth_timing(TuningJob(key, schedules), 2).schedules[1]
    tile = {tokens: schedule.tokens * schedule.outputs for tokens, schedule in best.items()}
    assert tile[64] < tile[16384]
