"""Facts about machines, and whether code for a target runs on them."""

import dataclasses
from pathlib import Path

import pytest

from l0compile.hardware.targets import (
    Host,
    available_cores,
    host_supports,
    load_target,
    native_target,
    read_host,
)
from l0compile.hardware.targets.host import X86_LEVELS, _caches, _cpuinfo

V4, V3 = X86_LEVELS[0][2], X86_LEVELS[1][2]
ZEN4 = Host("Linux", "x86_64", "EPYC", V4, 2, ())
HASWELL = dataclasses.replace(ZEN4, model="i5", flags=V3)
GRAVITON = Host("Linux", "aarch64", "Neoverse", frozenset({"asimd"}), 4, ())


def test_this_machine_is_described() -> None:
    host = read_host()
    assert set(host.fingerprint()) == {"system", "arch", "model", "isa", "cores"}
    assert all(host.fingerprint().values())
    assert 1 <= available_cores() == host.cores


@pytest.mark.parametrize(
    ("host", "isa"), [(ZEN4, "x86-64-v4"), (HASWELL, "x86-64-v3"), (GRAVITON, "aarch64-neon")]
)
def test_isa(host: Host, isa: str) -> None:
    assert host.isa == isa


def test_who_runs_what() -> None:
    avx512, avx2, neon = (load_target(name) for name in ("x86-64-avx512", "x86-64-avx2", "aarch64-neon"))
    assert host_supports(avx512, ZEN4) is None and host_supports(avx2, ZEN4) is None
    assert host_supports(avx2, HASWELL) is None and host_supports(neon, GRAVITON) is None
    assert host_supports(avx512, HASWELL) == (
        "the CPU (i5) lacks avx512bw, avx512cd, avx512dq, avx512f, avx512vl"
    )
    assert "for aarch64 and this machine is x86_64" in (host_supports(neon, ZEN4) or "")
    assert "for x86_64 and this machine is aarch64" in (host_supports(avx2, GRAVITON) or "")


@pytest.mark.parametrize(
    ("flags", "products"),
    [
        (V3, ("avx2",)),
        (V3 | {"avx_vnni"}, ("avxvnni",)),
        (V4, ("avx512bw", "avx2")),
        (V4 | {"avx512_vnni"}, ("avx512vnni",)),
        (frozenset({"sse2"}), ()),
    ],
)
def test_wider_products_only_where_there_are_no_others(
    flags: frozenset[str], products: tuple[str, ...]
) -> None:
    host = dataclasses.replace(HASWELL, flags=flags)
    assert host.dot_products == products
    assert native_target(host, [load_target("x86-64-avx2")]).multiplies("int8") is bool(products)


def test_another_operating_system() -> None:
    mac = dataclasses.replace(ZEN4, system="Darwin")
    assert "for Linux and this machine runs Darwin" in (host_supports(load_target("x86-64-avx2"), mac) or "")


def test_a_cpu_named_by_model_needs_at_least_its_vector_width() -> None:
    named = dataclasses.replace(load_target("x86-64-avx512"), cpu="znver4")
    assert host_supports(named, ZEN4) is None
    assert "avx512f" in (host_supports(named, HASWELL) or "")


def test_cuda_without_a_gpu_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "needs an NVIDIA GPU (sm_80)" in (host_supports(load_target("cuda-sm80")) or "")


def test_cuda_compares_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
    assert host_supports(load_target("cuda-sm90")) is None
    assert "the GPU here is sm_90" in (host_supports(load_target("cuda-sm80")) or "")


def test_cpuinfo_of_x86_and_arm(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(
        "processor : 0\ncpu family : 6\nmodel : 85\nmodel name : Xeon\nflags : fma avx2\n\nprocessor : 1\n"
        "model name : Other\n"
    )
    assert _cpuinfo(file) == ("Xeon", "cpu family 6 model 85", frozenset({"fma", "avx2"}))
    file.write_text("processor : 0\nFeatures : fp asimd\nCPU part : 0xd40\n")
    assert _cpuinfo(file) == ("0xd40", "", frozenset({"fp", "asimd"}))
    assert _cpuinfo(tmp_path / "none") == ("", "", frozenset())


def test_caches_leave_out_instructions(tmp_path: Path) -> None:
    for index, (level, kind, size) in enumerate(
        [
            ("1", "Data", "48K"),
            ("1", "Instruction", "64K"),
            ("2", "Unified", "2048K"),
            ("3", "Unified", "32M"),
        ]
    ):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(value + "\n")
    assert _caches(tmp_path) == ((1, 48 << 10), (2, 2 << 20), (3, 32 << 20))
    assert _caches(tmp_path / "none") == ()
