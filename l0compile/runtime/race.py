"""Measure in this process which of two engines is quicker for a model."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from l0compile.errors import BuildError, L0CompileError
from l0compile.hardware.statistics import Ratio, paired_ratio
from l0compile.ir.records import Engine, EngineChoice

ModelCall = Callable[[], Any]

_BLOCK_S = 0.02
_PAUSE_S = 0.02  # until the other engine's threads have gone to sleep
_LIMIT_S = 2.0
# PyTorch must be this much quicker: a tie is no reason to give up what is compiled.
HYSTERESIS = 0.95
_CLEAR = 1.3  # a ratio that more turns will not turn round, once a few agree
_FEW, _ENOUGH = 3, 6  # turns before a clear ratio decides, and before the interval of any does
# Two turns are enough where PyTorch is so much slower; for PyTorch they are not: a bad moment must not choose it.
_FEWEST, _PLAIN = 2, 2.5
_TIE = 1.1  # high over low of an interval that is narrow enough to call what it holds a tie
_RESAMPLES = 500
_WORDS: dict[Engine, str] = {"tvm": "what was compiled", "torch": "PyTorch"}


def race(
    tvm: ModelCall,
    torch: ModelCall,
    *,
    time_block: Callable[[ModelCall], float] | None = None,
    limit_s: float = _LIMIT_S,
) -> EngineChoice:
    """Time both engines on the same inputs, in turns of back-to-back calls until the winner is clear, and pick one.

    It is clear once the 95 % interval of the ratio lies on one side of ``HYSTERESIS``, or closely around it (a tie).
    The choice says so if ``limit_s`` seconds leave it open. An engine that fails is not chosen.

    Args:
        tvm: a call of the compiled model.
        torch: a call of the model in PyTorch.
        time_block: returns the ms of a call, from a few of them; default: this process's clock.
        limit_s: seconds of timing.

    Raises:
        BuildError: both engines fail; or the L0CompileError that one of them raised.
    """
    errors = {name: error for name, call in (("tvm", tvm), ("torch", torch)) if (error := _failure(call))}
    if len(errors) == 2:
        error = errors["tvm"]
        if isinstance(error, L0CompileError):
            raise error
        raise BuildError(f"compile: both engines fail on the example inputs: {_text(error)}") from error
    if errors:
        ((name, error),) = errors.items()
        return without("torch" if name == "torch" else "tvm", error)
    found: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + limit_s
    while not _decided(found) and (len(found[0]) < _FEW or time.perf_counter() < end):
        turn = list(zip((tvm, torch), found, strict=True))
        for call, times in turn if len(found[0]) % 2 else turn[::-1]:
            times.append((time_block or _block)(call))
            time.sleep(_PAUSE_S if time_block is None else 0)
    return decide(*found)


def decide(tvm: Sequence[float], torch: Sequence[float]) -> EngineChoice:
    """Return the engine to use, for the ms of a call in each turn."""
    tvm_ms, torch_ms = statistics.median(tvm), statistics.median(torch)
    ratio = paired_ratio(torch, tvm, _RESAMPLES)
    measured = f"{tvm_ms:.3g} ms compiled, {torch_ms:.3g} ms in PyTorch, on the example inputs"
    figures = (tvm_ms, torch_ms, ratio.low, ratio.high)
    if _decided((tvm, torch)):
        if ratio.value < HYSTERESIS:
            return EngineChoice("torch", f"PyTorch is quicker here: {measured}", *figures)
        return EngineChoice("tvm", f"compiled: {measured}", *figures)
    # What each choice costs at worst, if the truth is the far end of the interval.
    engine: Engine = "torch" if ratio.low * ratio.high < HYSTERESIS**2 else "tvm"
    worst = ratio.high if engine == "torch" else 1 / ratio.low
    other = 1 / ratio.low if engine == "torch" else ratio.high
    reason = (
        f"not decided in {len(tvm)} turns: PyTorch takes {ratio.low:.2g} to {ratio.high:.2g} of the compiled time "
        f"({measured}; other work on the machine?); {_WORDS[engine]} is taken because it loses least if that is wrong: "
        f"{worst:.2g} times at most, the other {other:.2g}"
    )
    return EngineChoice(engine, reason, *figures, decided=False)


def without(failed: Engine, error: BaseException) -> EngineChoice:
    """Return the choice that is left if an engine cannot be used."""
    engine: Engine = "tvm" if failed == "torch" else "torch"
    return EngineChoice(engine, f"{_WORDS[failed]} could not be used: {_text(error)}", failed=failed)


def _decided(found: Sequence[Sequence[float]]) -> bool:
    turns = len(found[0])
    if turns < _FEWEST:
        return False
    ratio = paired_ratio(found[1], found[0], _RESAMPLES)
    if turns < _FEW:
        return ratio.low > _PLAIN
    if turns < _ENOUGH:
        return ratio.low > _CLEAR or ratio.high < 1 / _CLEAR
    return not ratio.low <= HYSTERESIS <= ratio.high or _narrow(ratio)


def _narrow(ratio: Ratio) -> bool:
    return ratio.high < _TIE * ratio.low


def _failure(call: ModelCall) -> Exception | None:
    try:
        call()
    except Exception as error:  # whatever a library of another's raises: the failure is data here
        return error
    return None


def _text(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, L0CompileError) else f"{type(error).__name__}: {lines[0]}"


def _block(call: ModelCall) -> float:
    """Return the ms of a call in one block, after one call that does not count if it is shorter than a block.

    It is the lower quartile: other work on the machine only ever slows a call down.
    """
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    if first > _BLOCK_S:
        return first * 1e3
    times: list[float] = []
    end = time.perf_counter() + _BLOCK_S
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[len(times) // 4]
