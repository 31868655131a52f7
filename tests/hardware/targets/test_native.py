"""``native``: the target of a machine, from facts about it, on machines this test does not run on."""

import dataclasses

import pytest

from l0compile.errors import TargetError
from l0compile.hardware.targets import (
    Host,
    host_supports,
    list_targets,
    load_target,
    native_target,
    read_host,
)
from l0compile.hardware.targets.host import X86_LEVELS

V4, V3 = X86_LEVELS[0][2], X86_LEVELS[1][2]
ZEN4 = Host("Linux", "x86_64", "EPYC", V4 | {"avx512_bf16"}, 2, ((1, 32 << 10), (2, 1 << 20), (3, 32 << 20)))
SHIPPED = [load_target(name) for name in list_targets() if name != "native"]


def test_native_fits_this_machine() -> None:
    target = load_target("native")
    assert host_supports(target) is None
    assert target.name == "native" and target.cores >= 1
    assert target.arch == read_host().arch
    assert target is load_target("native")


def test_avx512_machine_reports_its_own_caches() -> None:
    target = native_target(ZEN4, SHIPPED)
    assert (target.cpu, target.vector_bits, target.registers) == ("x86-64-v4", 512, 32)
    assert (target.l1_bytes, target.l2_bytes, target.l3_bytes, target.cores) == (
        32 << 10,
        1 << 20,
        32 << 20,
        2,
    )
    assert target.efficiency == load_target("x86-64-avx512").efficiency


def test_avx512f_alone_is_not_the_v4_level() -> None:
    host = dataclasses.replace(ZEN4, flags=V3 | {"avx512f"})  # Knights Landing has it without the rest
    assert native_target(host, SHIPPED).cpu == "x86-64-v3"


def test_avx2_machine_without_l3() -> None:
    host = dataclasses.replace(ZEN4, flags=V3, caches=((1, 48 << 10), (2, 2 << 20)))
    target = native_target(host, SHIPPED)
    assert (target.cpu, target.vector_bits, target.registers, target.l3_bytes) == ("x86-64-v3", 256, 16, 0)


def test_old_x86_falls_back_to_sse() -> None:
    target = native_target(dataclasses.replace(ZEN4, flags=frozenset({"sse2"})), SHIPPED)
    assert (target.cpu, target.vector_bits) == ("x86-64", 128)


def test_apple_silicon_without_cache_facts() -> None:
    host = Host("Darwin", "arm64", "Apple M2", frozenset(), 8, ())
    target = native_target(host, SHIPPED)
    assert (target.triple, target.vector_bits, target.registers) == ("aarch64-apple-darwin", 128, 32)
    assert target.l3_bytes == load_target("aarch64-neon").l3_bytes
    assert host_supports(target, host) is None


def test_windows_spelling() -> None:
    host = dataclasses.replace(ZEN4, system="Windows", machine="AMD64")
    target = native_target(host, SHIPPED)
    assert target.triple == "x86_64-pc-windows-msvc"
    assert host_supports(target, host) is None


def test_unknown_architecture_says_what_to_do() -> None:
    with pytest.raises(
        TargetError, match=r"one of the architectures aarch64, x86_64, this machine is riscv64.*path"
    ):
        native_target(dataclasses.replace(ZEN4, machine="riscv64"), SHIPPED)
