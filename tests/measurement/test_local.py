"""Measuring in this process: what is called, and what is restored."""

import gc
import sys

import pytest
import torch

from l0compile.errors import InputError
from l0compile.measurement import Protocol, measure

FAST = Protocol(warmup_s=0.0, blocks=4, block_s=0.0, settle_s=0.0, min_calls=3)


def test_counts_of_calls() -> None:
    calls: list[int] = []
    made = measure(calls.append, (1,), FAST)
    assert made.calls == (3, 3, 3, 3) and len(made.samples_ms) == 12
    assert len(calls) == 1 + 4 * (1 + 3)  # warm-up, then a settling call and the timed ones in each block
    assert made.ok and made.protocol == FAST and all(sample >= 0 for sample in made.samples_ms)


def test_blocks_last_as_long_as_asked() -> None:
    made = measure(lambda: None, (), Protocol(warmup_s=0, blocks=2, block_s=0.01, settle_s=0))
    assert all(count > 3 for count in made.calls)


def test_state_inside_and_after() -> None:
    seen: list[tuple[int, bool, bool]] = []

    def look() -> None:
        flushed = sys.float_info.min / 2 == 0.0
        seen.append((torch.get_num_threads(), flushed, gc.isenabled()))

    before = torch.get_num_threads()
    can_flush = torch.set_flush_denormal(False)
    measure(look, (), Protocol(warmup_s=0, blocks=1, block_s=0, threads=before + 1))
    assert set(seen) == {(before + 1, can_flush, False)}
    assert torch.get_num_threads() == before and gc.isenabled()
    assert sys.float_info.min / 2 != 0.0


def test_denormals_can_be_kept() -> None:
    seen: set[bool] = set()
    keep = Protocol(warmup_s=0, blocks=1, block_s=0, flush_denormals=False)
    measure(lambda: seen.add(sys.float_info.min / 2 == 0.0), (), keep)
    assert seen == {False}


def test_an_error_propagates_and_state_is_restored() -> None:
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 // 0, (), FAST)
    assert gc.isenabled() and sys.float_info.min / 2 != 0.0


def test_a_tensor_is_no_tuple_of_arguments() -> None:
    with pytest.raises(InputError, match=r"args: expected a tuple, got a Tensor; write \(x,\)"):
        measure(torch.relu, torch.ones(2))  # type: ignore[arg-type]
