"""The race of two engines: what decides it, what is said when nothing does, and what fails is not chosen."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.errors import BuildError, InputError, RewriteError
from l0compile.ir.records import EngineChoice
from l0compile.runtime import TorchStage
from l0compile.runtime.race import HYSTERESIS, decide, race


def run(tvm: Iterable[float], torch_: Iterable[float]) -> tuple[EngineChoice, int]:
    """The choice by a clock that reads the ms of each turn from two series, and the number of turns."""
    turns = {"tvm": 0, "torch": 0}
    series = {"tvm": iter(tvm), "torch": iter(torch_)}

    def clock(call: Callable[[], str]) -> float:
        turns[call()] += 1
        return next(series[call()])

    choice = race(lambda: "tvm", lambda: "torch", time_block=clock, limit_s=0.05)
    assert turns["tvm"] == turns["torch"]
    return choice, turns["tvm"]


def noisy(scale: float, seed: int, spread: float) -> Iterator[float]:
    rng = np.random.default_rng(seed)
    return (scale * float(rng.lognormal(0, spread)) for _ in itertools.count())


@given(st.sampled_from([0.2, 0.5, 0.8, 1.3, 2.0, 5.0]), st.integers(0, 1000))
def test_a_difference_decides_for_the_quicker_one(ratio: float, seed: int) -> None:
    choice, turns = run(noisy(1.0, seed, 0.03), noisy(ratio, seed + 5000, 0.03))
    assert choice.engine == ("torch" if ratio < HYSTERESIS else "tvm")
    assert choice.decided and choice.low is not None and choice.high is not None
    assert choice.low < ratio * 1.1 and choice.high > ratio * 0.9
    assert turns <= 6


def test_one_bad_minute_does_not_decide() -> None:
    slow_start = itertools.chain([100.0, 90.0], itertools.repeat(1.0))
    choice, turns = run(slow_start, itertools.repeat(1.4))
    assert choice.engine == "tvm" and choice.decided and turns > 3


def test_two_turns_are_enough_for_the_compiled_model_alone() -> None:
    choice, turns = run(itertools.repeat(1.0), itertools.repeat(4.0))
    assert (choice.engine, choice.decided, turns) == ("tvm", True, 2)
    choice, turns = run(itertools.repeat(4.0), itertools.repeat(1.0))
    assert (choice.engine, choice.decided, turns) == ("torch", True, 3)


def test_a_tie_stays_compiled() -> None:
    for ratio in (0.97, 1.0, 1.02):
        choice, _ = run(noisy(1.0, 1, 0.01), noisy(ratio, 2, 0.01))
        assert choice.engine == "tvm" and choice.decided


@pytest.mark.parametrize(
    ("torch_", "engine", "words"),
    [
        ([0.5, 1.2, 0.5, 1.2, 0.5, 1.2], "torch", "PyTorch takes 0.5 to 1.2 of the compiled time"),
        ([0.8, 3.0, 0.8, 3.0, 0.8, 3.0], "tvm", "what was compiled is taken because it loses least"),
    ],
)
def test_what_is_not_decided_is_said(torch_: list[float], engine: str, words: str) -> None:
    choice = decide([1.0] * len(torch_), torch_)
    assert (choice.engine, choice.decided) == (engine, False)
    assert choice.reason.startswith("not decided in 6 turns") and words in choice.reason
    assert (choice.low, choice.high) == pytest.approx((min(torch_), max(torch_)))


def test_a_busy_machine_ends_the_race_in_time() -> None:
    choice, turns = run(noisy(1.0, 3, 3.0), noisy(1.0, 4, 3.0))
    assert turns >= 3 and choice.tvm_ms is not None
    assert choice.decided or "not decided" in choice.reason


def fail(error: Exception) -> Callable[[], Any]:
    def call() -> None:
        raise error

    return call


def test_an_engine_that_fails_is_not_chosen() -> None:
    choice = race(fail(RuntimeError("no such fusion\nmore")), lambda: None)
    assert (choice.engine, choice.failed) == ("torch", "tvm")
    assert choice.reason == "what was compiled could not be used: RuntimeError: no such fusion"
    choice = race(lambda: None, fail(RuntimeError("no such fusion")))
    assert (choice.engine, choice.failed) == ("tvm", "torch") and "PyTorch could not be used" in choice.reason
    with pytest.raises(InputError, match="a wrong size"):
        race(fail(InputError("a wrong size")), fail(InputError("a wrong size")))
    with pytest.raises(BuildError, match="both engines fail on the example inputs: KeyError"):
        race(fail(KeyError("x")), fail(RuntimeError("y")))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "l0compile"]


class Gated(nn.Module):
    """A channel gate, pooling and a sum under an activation, before a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(4, 8, 3, padding=1), nn.Linear(8, 3)
        self.gate = nn.Parameter(torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 1.0, 2.0]))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h = F.hardswish(self.conv(x) + y) * self.gate[:, None, None]
        return self.out(F.avg_pool2d(h, 2).mean((2, 3)))


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_an_activation_after_a_sum(engine: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, args = Gated().eval(), (torch.randn(2, 4, 8, 8), torch.randn(2, 8, 8, 8))
    compiled = l0.compile(model, args, engine=engine)
    torch.testing.assert_close(compiled(*args), model(*args), rtol=2e-5, atol=2e-5)
    assert not warnings(caplog)


@pytest.mark.parametrize("verify", [True, False])
def test_auto_takes_what_works(
    verify: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PyTorch fails when it is called: in the comparison with the model, or, without that, in the race."""
    model, x = nn.Sequential(nn.Linear(6, 5), nn.ReLU()).eval(), torch.randn(3, 6)
    monkeypatch.setattr(TorchStage, "__call__", lambda *_: fail(RuntimeError("fusion is undefined"))())
    compiled = l0.compile(model, (x,), verify=verify)
    choice = compiled.explain().choice
    assert choice is not None and (choice.engine, choice.failed) == ("tvm", "torch")
    torch.testing.assert_close(compiled(x), model(x), rtol=2e-5, atol=2e-5)
    (message,) = warnings(caplog)
    assert "PyTorch could not be used" in message and "fusion is undefined" in message
    with pytest.raises(RewriteError, match="fusion is undefined"):
        l0.compile(model, (x,), engine="torch")
