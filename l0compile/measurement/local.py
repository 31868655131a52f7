"""Measure a callable in this process."""

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from l0compile.errors import InputError
from l0compile.hardware.process import flushes_denormals
from l0compile.measurement.protocol import Protocol
from l0compile.measurement.result import Measurement


def measure(
    fn: Callable[..., Any], args: Sequence[Any] = (), protocol: Protocol | None = None
) -> Measurement:
    """Measure the latency of ``fn(*args)`` in this process: a warm-up, then blocks of back-to-back calls.

    Do not alternate this between libraries with thread pools of their own (PyTorch and a compiled model): idle
    threads of one spin, and slow the other for milliseconds. ``measure_engines`` gives each library its own process.

    Args:
        fn: what to call; its errors pass through.
        args: positional arguments.
        protocol: how to measure; default: ``Protocol()``.

    Raises:
        InputError: ``args`` is not a sequence of arguments, but a tensor, for example.
    """
    if not isinstance(args, Sequence) or isinstance(args, str):
        raise InputError(
            f"measure: args: expected a tuple, got a {type(args).__name__}; write (x,) for a single one"
        )
    protocol = protocol or Protocol()
    with quiet(protocol):
        run_for(fn, args, protocol.warmup_s, 1)
        return Measurement.from_blocks(
            [run_block(fn, args, protocol) for _ in range(protocol.blocks)], protocol
        )


def run_block(fn: Callable[..., Any], args: Sequence[Any], protocol: Protocol) -> list[float]:
    """Run one block: untimed calls to settle, then timed ones. Return the milliseconds of these."""
    run_for(fn, args, protocol.settle_s, 1)
    return run_for(fn, args, protocol.block_s, protocol.min_calls)


def run_for(fn: Callable[..., Any], args: Sequence[Any], seconds: float, min_calls: int) -> list[float]:
    """Call for ``seconds`` and at least ``min_calls`` times, and return the milliseconds of each call."""
    clock = time.perf_counter_ns
    times: list[float] = []
    end = clock() + int(seconds * 1e9)
    stop = clock()
    while stop < end or len(times) < min_calls:
        start = clock()
        fn(*args)
        stop = clock()
        times.append((stop - start) * 1e-6)
    return times


@contextlib.contextmanager
def quiet(protocol: Protocol) -> Iterator[None]:
    """Flush denormals, set PyTorch's threads and switch the garbage collector off; restore all three on leaving."""
    import torch

    threads, flushed, collecting = torch.get_num_threads(), flushes_denormals(), gc.isenabled()
    if protocol.flush_denormals:
        torch.set_flush_denormal(True)
    if protocol.threads is not None:
        torch.set_num_threads(protocol.threads)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if protocol.threads is not None:
            torch.set_num_threads(threads)
        torch.set_flush_denormal(flushed)
