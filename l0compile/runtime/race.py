"""Which of two engines is quicker for a model, measured in this process."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from l0compile.records import EngineChoice

_BLOCK_S = 0.05
_PAUSE_S = 0.02  # until the other engine's threads have gone to sleep
_ROUNDS = 3
# PyTorch must be this much quicker: a tie is no reason to give up what is compiled.
HYSTERESIS = 0.95
_CLEAR = 1.5  # a ratio that a second look will not turn round


def race(tvm: Callable[[], Any], torch: Callable[[], Any]) -> EngineChoice:
    """Time both engines on the same inputs, in turns of back-to-back calls, and pick one."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for call, found in zip((tvm, torch), times, strict=True):
            found.append(_block(call))
            time.sleep(_PAUSE_S)
        ratio = times[0][-1] / times[1][-1]
        if max(ratio, 1 / ratio) > _CLEAR:
            break
    tvm_ms, torch_ms = (statistics.median(found) for found in times)
    return decide(tvm_ms, torch_ms)


def decide(tvm_ms: float, torch_ms: float) -> EngineChoice:
    """The engine for two times of a call."""
    compared = f"{tvm_ms:.3g} ms compiled, {torch_ms:.3g} ms in PyTorch, on the example inputs"
    if torch_ms < HYSTERESIS * tvm_ms:
        return EngineChoice("torch", f"PyTorch is quicker here: {compared}", tvm_ms, torch_ms)
    return EngineChoice("tvm", f"compiled: {compared}", tvm_ms, torch_ms)


def _block(call: Callable[[], Any]) -> float:
    """Mean ms of a call in one block, after one that is not counted."""
    call()
    start = time.perf_counter()
    calls = 0
    while calls == 0 or time.perf_counter() - start < _BLOCK_S:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls * 1e3
