"""Where a time holds."""

from dataclasses import replace

from l0compile.hardware.costs import place
from l0compile.hardware.costs.place import device, versions_of
from l0compile.hardware.targets import Host, load_target
from l0compile.hardware.targets.host import X86_LEVELS

ZEN4 = Host("Linux", "x86_64", "EPYC", X86_LEVELS[0][2], 2, ((1, 32 << 10), (2, 1 << 20)), "cpu family 25")
AVX512, AVX2 = load_target("x86-64-avx512"), load_target("x86-64-avx2")


def test_the_device_is_the_processor_and_what_is_used_of_it() -> None:
    assert device(AVX512, ZEN4) == "x86_64 EPYC; cpu family 25; L1 32 KiB, L2 1024 KiB; x86-64-v4"
    others = (replace(ZEN4, model="Xeon"), replace(ZEN4, family="cpu family 26"), replace(ZEN4, caches=()))
    assert len({device(AVX512, ZEN4), device(AVX2, ZEN4), *(device(AVX512, host) for host in others)}) == 5


def test_threads_come_from_the_target_unless_given() -> None:
    found = place(AVX512, "v", host=ZEN4)
    assert found is not None and (found.threads, found.versions) == (AVX512.cores, "v")
    assert place(AVX512, "v", 1, ZEN4) == replace(found, threads=1)


def test_code_that_does_not_run_here_has_no_place() -> None:
    assert place(load_target("aarch64-neon"), "v", host=ZEN4) is None
    assert place(load_target("cuda-sm80"), "v", host=ZEN4) is None


def test_versions_name_the_compiler() -> None:
    assert versions_of("linear 123").startswith("apache-tvm 0.") and versions_of("a") != versions_of("b")
