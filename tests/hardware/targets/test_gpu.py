"""The table of a GPU: shipped cards are what their maker states, and wrong tables are named."""

import copy
import tomllib
from typing import Any

import pytest

from l0compile.errors import ConfigError
from l0compile.hardware.targets import list_targets, load_target, parse_target, shipped_folder

SHIPPED = [name for name in list_targets() if name.startswith("cuda")]

# Products a multiprocessor makes in a cycle: float16 on its tensor cores (sums in float32), float32 outside them.
PRODUCTS = {
    "75": (512, 64),
    "80": (1024, 64),
    "86": (512, 128),
    "89": (256, 128),
    "90": (2048, 128),
    "100": (4096, 128),
}


@pytest.fixture
def table() -> dict[str, Any]:
    return tomllib.loads((shipped_folder("targets") / "cuda-sm80.toml").read_text())


def test_six_architectures_are_shipped() -> None:
    assert {name.removeprefix("cuda-sm") for name in SHIPPED} == set(PRODUCTS)
    assert all(load_target(name).gpu is None for name in list_targets() if name not in SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_stated_speeds_are_multiprocessors_times_products_times_clock(name: str) -> None:
    target = load_target(name)
    assert target.gpu is not None
    tensor, plain = PRODUCTS[name.removeprefix("cuda-sm")]
    peak = 2e-6 * target.cores * target.gpu.boost_mhz
    assert target.gpu.tflops("float16") == pytest.approx(peak * tensor, rel=0.01)
    # H100 and B200 run at a higher clock when their tensor cores rest.
    higher = 1.09 if name in ("cuda-sm90", "cuda-sm100") else 1.01
    assert 0.99 * peak * plain <= target.gpu.float32_tflops <= higher * peak * plain


def test_precisions_that_a_gpu_multiplies() -> None:
    turing, hopper = load_target("cuda-sm75"), load_target("cuda-sm90")
    assert [turing.multiplies(name) for name in ("float32", "int8", "bfloat16")] == [True, True, False]
    assert all(hopper.multiplies(name) for name in ("float32", "int8", "bfloat16"))


def test_types_without_tensor_cores_run_outside_them() -> None:
    turing, ampere = load_target("cuda-sm75").gpu, load_target("cuda-sm80").gpu
    assert turing is not None and ampere is not None
    assert turing.tflops("bfloat16") == turing.float32_tflops
    assert ampere.tflops("float32") == 19.5 and ampere.tflops("tf32") == 156.0


BAD = [
    ("card", "", r"gpu\.card: expected text that is not empty"),
    ("threads_per_sm", 100, r"gpu\.threads_per_sm: expected a multiple of 32 threads, got 100"),
    (
        "shared_per_block",
        1 << 20,
        r"gpu\.shared_per_block: expected at most shared_per_sm, 167936, got 1048576",
    ),
    ("bandwidth_gbs", 0, r"gpu\.bandwidth_gbs: expected a positive number, got 0"),
    ("tensor_tflops", [["float15", 1.0]], r"gpu\.tensor_tflops.*'float15'"),
    ("tensor_tflops", [["float16", -1.0]], r"gpu\.tensor_tflops.*expected a positive number"),
    ("clock", 1.0, r"gpu\.clock: unknown key"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_wrong_values_are_named(table: dict[str, Any], key: str, value: Any, message: str) -> None:
    table["gpu"][key] = value
    with pytest.raises(ConfigError, match="^card.toml: .*" + message):
        parse_target(table, "card.toml", "card")


def test_every_key_of_the_table_is_required(table: dict[str, Any]) -> None:
    for key in table["gpu"]:
        broken = copy.deepcopy(table)
        del broken["gpu"][key]
        with pytest.raises(ConfigError, match=rf"gpu\.{key}: is missing"):
            parse_target(broken, "card.toml", "card")


def test_a_gpu_has_the_table_and_a_cpu_has_none(table: dict[str, Any]) -> None:
    cpu = tomllib.loads((shipped_folder("targets") / "x86-64-avx2.toml").read_text())
    with pytest.raises(ConfigError, match="gpu: expected none for kind 'llvm'"):
        parse_target({**cpu, "gpu": table["gpu"]}, "card.toml", "card")
    del table["gpu"]
    with pytest.raises(ConfigError, match="gpu: is missing; expected a table for kind 'cuda'"):
        parse_target(table, "card.toml", "card")
