"""Where a time holds."""

from dataclasses import replace

from l0compile.hardware.costs import place
from l0compile.hardware.costs.place import _code, device, versions
from l0compile.hardware.targets import Host, load_target
from l0compile.hardware.targets.host import X86_LEVELS

ZEN4 = Host("Linux", "x86_64", "EPYC", X86_LEVELS[0][2], 2, ((1, 32 << 10), (2, 1 << 20)), "cpu family 25")
AVX512, AVX2 = load_target("x86-64-avx512"), load_target("x86-64-avx2")


def test_the_device_is_the_processor_and_what_is_used_of_it() -> None:
    assert device(AVX512, ZEN4) == "x86_64 EPYC; cpu family 25; L1 32 KiB, L2 1024 KiB; x86-64-v4"
    others = (replace(ZEN4, model="Xeon"), replace(ZEN4, family="cpu family 26"), replace(ZEN4, caches=()))
    assert len({device(AVX512, ZEN4), device(AVX2, ZEN4), *(device(AVX512, host) for host in others)}) == 5


def test_threads_come_from_the_target_unless_given() -> None:
    found = place(AVX512, "linear", host=ZEN4)
    assert found is not None and found.threads == AVX512.cores
    assert place(AVX512, "linear", 1, ZEN4) == replace(found, threads=1)


def test_code_that_does_not_run_here_has_no_place() -> None:
    assert place(load_target("aarch64-neon"), "linear", host=ZEN4) is None
    assert place(load_target("cuda-sm80"), "linear", host=ZEN4) is None


def test_versions_tell_operators_apart_and_ignore_comments() -> None:
    assert versions("linear") != versions("norm") and "apache-tvm 0." in versions("linear")
    plain = "def f(x):\n    return x + 1\n"
    assert _code(plain) != _code(plain.replace("1", "2"))
    assert _code('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1  # why\n') == _code(
        '"""Other."""\ndef f(x):\n    """Other."""\n    return x + 1\n'
    )
    assert _code(plain) == _code(f"import torch\nfrom l0compile.errors import DataError\n{plain}")
    assert _code(plain) == _code(plain.replace("    return", "    from os import path\n    return"))
