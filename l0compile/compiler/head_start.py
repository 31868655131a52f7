"""Whether what was compiled is so far ahead of the model itself that PyTorch need not be prepared for a race."""

import time
from collections.abc import Callable
from typing import Any

import torch

from l0compile.ir.program import Program
from l0compile.ir.records import EngineChoice

# Where no channel is gone, packed weights and fused operators make a model in PyTorch two to three times as fast.
_AHEAD = 5.0
_LEAST_MS = 5.0  # below, Python takes a good part of a model's own time
_SAME_WEIGHTS = 0.95
# A shorter call is repeated, and the quicker one counts: other work on the machine only ever slows a call down.
_LONG_MS = 200.0


def far_ahead(
    compiled: Callable[[], Any], model: Callable[[], Any], captured: Program, dense: Program
) -> EngineChoice | None:
    """Return the choice of the compiled model if a call of it takes a fifth of one of the model itself, or less.

    Args:
        compiled: a call of the compiled model.
        model: a call of the model that it was made of.
        captured: the program of the model.
        dense: what PyTorch would run.

    Returns:
        The choice; None where the engines have to race: the model is small, channels are gone that PyTorch would leave
        out as well, or it is not that clear.
    """
    if _weights(dense) < _SAME_WEIGHTS * _weights(captured):
        return None
    with torch.no_grad():
        tvm_ms, own_ms = _ms(compiled), _ms(model)
        if own_ms < _AHEAD / 2 * tvm_ms:
            return None
        if own_ms < _LONG_MS:
            tvm_ms, own_ms = min(tvm_ms, _ms(compiled)), min(own_ms, _ms(model))
    if own_ms < max(_AHEAD * tvm_ms, _LEAST_MS):
        return None
    measured = f"{tvm_ms:.3g} ms compiled, {own_ms:.3g} ms as the model is, on the example inputs"
    return EngineChoice("tvm", f"compiled: {measured}", tvm_ms)


def _weights(program: Program) -> int:
    return sum(tensor.numel() for tensor in program.constants.values())


def _ms(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3
