"""The stamp of a kernel's code: blind to words and places, awake to what is computed."""

import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from l0compile.hardware.targets import Core
from l0compile.kernels.code_stamp import code_stamp
from l0compile.kernels.cpu.rows.dense import rows_linear

Stamp = Callable[..., str]
SHARED = "def half(x):\n    return x / 2\n\n\ndef other(x):\n    return x\n"
KERNEL = '''from l0compile.kernels.{shared} import half

WIDTH = 3


class Task:
    """One task."""

    size: int = 4

    def run(self, tile):
        """Run it."""
        return half(tile.core.latency) + WIDTH  # fast


def emit(spec: int, tile: str) -> int:
    """Emit it."""
    return Task().run(tile) + spec


def counts():
    return 1
'''
NUMBER = itertools.count()


@pytest.fixture
def stamp(tmp_path: Path) -> Stamp:
    """stamp(source of the kernel, source of what it shares, core): of two modules of new names."""

    def load(name: str, source: str) -> object:
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(f"l0compile.kernels.{name}", path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def stamped(kernel: str = KERNEL, shared: str = SHARED, core: Core = Core()) -> str:  # noqa: B008  # frozen
        number = next(NUMBER)
        load(f"shared{number}", shared)
        module = load(f"kernel{number}", kernel.format(shared=f"shared{number}"))
        return code_stamp(module.emit, core)  # type: ignore[attr-defined]

    return stamped


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# fast", "# as fast as it gets"),
        ('"""Emit it."""', '"""Emit the kernel."""'),
        ('"""One task."""\n', '"""A task."""\n'),
        ("spec: int, tile: str) -> int", "spec, tile: object)"),
        ("size: int", "size: float"),
        ("return 1\n", "return 2\n"),
        ("\nWIDTH", "import math\n\nWIDTH"),
    ],
)
def test_words_and_unused_code_do_not_count(stamp: Stamp, old: str, new: str) -> None:
    assert old in KERNEL and stamp(KERNEL.replace(old, new)) == stamp()


def test_shared_code_counts_as_far_as_it_is_reached(stamp: Stamp) -> None:
    assert stamp(shared=SHARED.replace("return x\n", "return -x\n")) == stamp()
    assert stamp(shared=SHARED.replace("x / 2", "x / 3")) != stamp()


@pytest.mark.parametrize(("old", "new"), [("WIDTH = 3", "WIDTH = 4"), ("+ spec", "- spec"), ("= 4", "= 5")])
def test_code_counts(stamp: Stamp, old: str, new: str) -> None:
    assert stamp(KERNEL.replace(old, new)) != stamp()


def test_numbers_of_the_core_count_where_the_code_reads_them(stamp: Stamp) -> None:
    assert stamp(core=Core(latency=5)) != stamp(core=Core(accumulators=9)) == stamp()


def test_a_stamp_is_kept_for_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L0COMPILE_CACHE", str(tmp_path))
    again = code_stamp.__wrapped__  # as in a process that has asked for none
    made, calls = again(rows_linear, Core()), list[str]()
    monkeypatch.setattr(
        "l0compile.kernels.code_stamp._made", lambda *_: calls.append("made") or "0123456789ab"
    )
    assert again(rows_linear, Core()) == made and not calls
    assert (
        again(rows_linear, Core(latency=Core().latency + 1)) == "0123456789ab"
    )  # other numbers have their own
    for file in (tmp_path / "stamps").iterdir():
        file.write_text("0123")
    assert again(rows_linear, Core()) == "0123456789ab" and len(calls) == 2
    monkeypatch.setenv("L0COMPILE_CACHE", "off")
    assert again(rows_linear, Core()) == "0123456789ab" and len(calls) == 3
