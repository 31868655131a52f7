"""A model that is much slower than what was compiled of it needs no race, and PyTorch's weights need no packing."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.compiler.head_start import far_ahead
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.pipeline import optimise_dense


class Slow(nn.Module):
    """Sleeps in Python, which no graph holds: two layers, of which channels may be closed."""

    def __init__(self, closed: int = 0, seconds: float = 0.05) -> None:
        super().__init__()
        self.up, self.down, self.seconds, self.calls = nn.Linear(64, 64), nn.Linear(64, 64), seconds, 0
        with torch.no_grad():
            self.up.weight[:closed], self.up.bias[:closed] = 0.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        result: Tensor = self.down(torch.relu(self.up(x)))
        return result


def programs(model: nn.Module) -> tuple[Program, Program]:
    captured = capture(model, (torch.randn(3, 64),))
    return captured, optimise_dense(captured)


def sleeping(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def test_the_compiled_model_is_chosen_without_a_race() -> None:
    choice = far_ahead(sleeping(0.0), sleeping(0.1), *programs(Slow(seconds=0.0).eval()))
    assert choice is not None and choice.engine == "tvm" and choice.decided
    assert choice.tvm_ms is not None and choice.torch_ms is None
    assert choice.reason.startswith("compiled: ") and "as the model is" in choice.reason


@pytest.mark.parametrize(("compiled", "model"), [(0.05, 0.1), (0.1, 0.05), (0.0, 0.0)])
def test_engines_race_where_it_is_not_that_clear(compiled: float, model: float) -> None:
    assert far_ahead(sleeping(compiled), sleeping(model), *programs(Slow(seconds=0.0).eval())) is None


def test_engines_race_where_pytorch_could_leave_channels_out_as_well() -> None:
    assert far_ahead(sleeping(0.0), sleeping(0.1), *programs(Slow(40, 0.0).eval())) is None


def test_compile_says_what_it_compared() -> None:
    fast = l0.compile(Slow().eval(), (torch.randn(3, 64),))
    choice = fast.explain().choice
    assert choice is not None and choice.engine == "tvm" and "as the model is" in choice.reason
    raced = l0.compile(Slow(40).eval(), (torch.randn(3, 64),)).explain().choice
    assert raced is not None and raced.torch_ms is not None


def test_a_model_that_is_not_verified_is_not_called() -> None:
    raced = l0.compile(Slow().eval(), (torch.randn(3, 64),), verify=False).explain().choice
    assert raced is not None and raced.torch_ms is not None


def test_a_model_with_state_races() -> None:
    class Counting(Slow):
        def __init__(self) -> None:
            super().__init__(seconds=0.02)
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return super().forward(x) + self.count

    model = Counting().eval()
    fast = l0.compile(model, (torch.randn(3, 64),))
    choice = fast.explain().choice
    assert choice is not None and choice.torch_ms is not None
    assert float(model.count) == 0 and float(fast.state["count"]) == 0
