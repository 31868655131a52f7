"""A kernel from its source text, launched on the CPU with NumPy arrays."""

import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from l0compile.kernels.cuda.emulation.faults import (
    Crash,
    LaunchFault,
    Unending,
    UnknownInstruction,
    UnstableResult,
    reported,
)
from l0compile.kernels.cuda.emulation.toolchain import executable, source_line
from l0compile.kernels.cuda.emulation.translation import kernels

KernelArray = np.ndarray[Any, Any]
Order = tuple[str, int]

ORDERS: tuple[Order, ...] = (("forward", 0), ("backward", 0), ("random", 1))
"""The orders of threads and blocks that a kernel is run in; the number is the seed of a random one."""

_ORDER_NUMBERS = {"forward": 0, "backward": 1, "random": 2}
_NAME = 512  # bytes of a name, as cpp/main.cpp reads them


@dataclass(frozen=True)
class KernelLaunch:
    """One launch of a kernel.

    Attributes:
        name: of the kernel.
        grid, block: blocks and threads in x, y and z.
        arguments: by parameter: the number of a buffer as ``("buffer", i)``, or a number.
        dynamic_shared_bytes: dynamic shared memory of a block.
    """

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Any, ...]
    dynamic_shared_bytes: int = 0


def poisoned(shape: Sequence[int], dtype: Any) -> KernelArray:
    """Return an array whose bits are all one: NaN in floats, -1 in signed integers."""
    array = np.empty(tuple(shape), dtype)
    array.reshape(-1).view(np.uint8)[...] = 0xFF
    return array


class EmulatedKernel:
    """One kernel of CUDA C++ text."""

    def __init__(self, source: str, name: str | None = None) -> None:
        """Compile ``source``; ``name``: which of its kernels (it may be left out where there is one).

        Raises: UnknownInstruction, MissingDependency; see ``toolchain.executable``.
        """
        names = list(kernels(source))
        self.name = name if name is not None else names[0] if len(names) == 1 else ""
        self._program = executable(source)
        if self.name not in names:
            raise UnknownInstruction(f"expected the name of one of the kernels {names}, got {name!r}")

    def launch(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        dynamic_shared_bytes: int = 0,
        orders: Sequence[Order] = ORDERS,
        seconds: float = 60.0,
    ) -> list[KernelArray]:
        """Run the kernel, and return the arrays among ``arguments`` as they are afterwards.

        grid, block: one to three extents.
        arguments: arrays and numbers, in the order of the kernel's parameters; arrays are not changed.

        Raises: KernelFault.
        """
        arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]
        places = iter(range(len(arrays)))
        given = tuple(
            ("buffer", next(places)) if isinstance(argument, np.ndarray) else argument
            for argument in arguments
        )
        one = KernelLaunch(self.name, _three(grid), _three(block), given, dynamic_shared_bytes)
        names = [f"argument {i}" for i, argument in enumerate(arguments) if isinstance(argument, np.ndarray)]
        return run_launches(self._program, [one], dict(zip(names, arrays, strict=True)), orders, seconds)


def run_launches(
    program: Path,
    launches: Sequence[KernelLaunch],
    arrays: dict[str, KernelArray],
    orders: Sequence[Order],
    seconds: float,
) -> list[KernelArray]:
    """Run ``launches`` one after another, in each of ``orders``; return the arrays as they are afterwards.

    arrays: by the name that a fault calls them; launches name them by position.

    Raises: KernelFault.
    """
    if not orders:
        raise LaunchFault("expected at least one order of threads to run in, got none")
    first: list[KernelArray] = []
    for order in orders:
        results, inexact = _run(program, launches, arrays, order, seconds)
        if not first:
            first = results
        elif not inexact:
            _compare(first, results, list(arrays), (orders[0], order))
    return first


def _compare(
    first: list[KernelArray], second: list[KernelArray], names: list[str], orders: tuple[Order, Order]
) -> None:
    for name, one, other in zip(names, first, second, strict=True):
        wrong = np.flatnonzero(one.reshape(-1).view(np.uint8) != other.reshape(-1).view(np.uint8))
        if len(wrong):
            at = int(wrong[0]) // one.itemsize
            raise UnstableResult(
                f"{name}: element {at} (of {one.size}) is {one.reshape(-1)[at]} with threads in order {orders[0]}, and "
                f"{other.reshape(-1)[at]} in order {orders[1]}; something is not synchronised"
            )


def _three(extents: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*map(int, extents), 1, 1, 1)[:3]
    return x, y, z


def _text(name: str) -> bytes:
    return name.encode()[: _NAME - 1].ljust(_NAME, b"\0")


def _argument(value: Any) -> bytes:
    if isinstance(value, tuple):
        return struct.pack("<qq", 0, value[1])
    if isinstance(value, float | np.floating):
        return struct.pack("<qd", 2, float(value))
    return struct.pack("<qQ", 1, int(value) & (1 << 64) - 1)


def _written(launches: Sequence[KernelLaunch], arrays: dict[str, KernelArray]) -> tuple[bytes, int]:
    parts = [_text(name) + struct.pack("<q", array.nbytes) for name, array in arrays.items()]
    for one in launches:
        numbers = (*one.grid, *one.block, one.dynamic_shared_bytes, len(one.arguments))
        parts.append(_text(one.name) + struct.pack("<8q", *numbers) + b"".join(map(_argument, one.arguments)))
    head = b"".join(parts)
    return struct.pack("<3q", len(arrays), len(launches), 24 + len(head)) + head, 24 + len(head)


def _run(
    program: Path,
    launches: Sequence[KernelLaunch],
    arrays: dict[str, KernelArray],
    order: Order,
    seconds: float,
) -> tuple[list[KernelArray], bool]:
    """Run in a process of its own, so that nothing it does can harm this one; also return whether floats were added."""
    head, start = _written(launches, arrays)
    name = ", ".join(dict.fromkeys(one.name for one in launches))
    with tempfile.TemporaryDirectory(prefix="l0compile-emulation-") as folder:
        file = Path(folder) / "launch"
        file.write_bytes(head + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values()))
        command = [os.fspath(program), os.fspath(file), str(_ORDER_NUMBERS[order[0]]), str(order[1])]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise Unending(f"kernel {name}: no end within {seconds} seconds, in order {order}") from None
        if fault := reported(done.stderr, lambda address: source_line(program, address)):
            raise fault
        if done.returncode:
            raise Crash(
                f"kernel {name}: the emulation ended with {done.returncode}: {done.stderr.strip()[-400:]}"
            )
        contents = file.read_bytes()
    results, position = [], start
    for array in arrays.values():
        results.append(np.frombuffer(contents, array.dtype, array.size, position).reshape(array.shape).copy())
        position += array.nbytes
    return results, "float atomics: 1" in done.stderr
