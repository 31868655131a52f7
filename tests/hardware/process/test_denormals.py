"""Denormal weights count where they matter, whatever the process has done to the mode of its threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.errors import RewriteError
from l0compile.frontend.export import capture
from l0compile.hardware.process import denormals_kept, flushes_denormals
from l0compile.rewrite.pipeline import lost_denormals, optimise_dense


class Tiny(nn.Module):
    """Weights of 1e-40 and values of 1e38: the answer is about 0.01, and 0 without denormals."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 6, bias=False, dtype=dtype), nn.Linear(6, 2, dtype=dtype)
        with torch.no_grad():
            self.up.weight.copy_((torch.rand(6, 8, dtype=torch.float64) + 0.5) * 1e-40)
            self.up.weight[0] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x))


@pytest.fixture
def example() -> Tensor:
    return torch.rand(3, 8) * 1e38


@pytest.fixture
def tiny() -> Tiny:
    return Tiny().eval()


@pytest.fixture
def flushing() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine cannot flush denormals")
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("engine", ["torch", "auto"])
def test_denormal_weights_that_matter_are_kept(example: Tensor, engine: str) -> None:
    model = Tiny().eval()
    compiled = l0.compile(model, (example,), engine=engine)
    assert compiled.explain().choice.engine == "torch"
    assert (compiled(example) - model.down.bias).abs().max() > 1e-3
    torch.testing.assert_close(compiled(example), model(example).detach(), rtol=2e-5, atol=0)
    torch.testing.assert_close(l0.compact(model, (example,))(example).detach(), model(example).detach())


def test_compiled_code_without_them_is_refused(example: Tensor) -> None:
    with pytest.raises(RewriteError, match="the pass flush_denormals changed it"):
        l0.compile(Tiny().eval(), (example,), engine="tvm")


def test_denormal_weights_that_do_not_matter_do_not_keep_a_model_from_tvm() -> None:
    model, x = Tiny().eval(), torch.rand(3, 8)
    compiled = l0.compile(model, (x,), engine="tvm")
    torch.testing.assert_close(compiled(x), model(x).detach())


def test_a_thread_that_flushes_gets_the_same_model(
    example: Tensor, tiny: Tiny, tmp_path: Path, flushing: None
) -> None:
    model = tiny
    assert not bool((model.up.weight != 0).any())  # as such a thread sees it
    compiled = l0.compile(model, (example,), engine="torch")
    assert flushes_denormals()
    compacted = l0.compact(model, (example,))
    assert flushes_denormals()
    compiled.save(tmp_path / "m")
    loaded = l0.load(tmp_path / "m")
    assert flushes_denormals()
    with denormals_kept():
        assert not flushes_denormals()
        assert bool((model.up.weight != 0).any())
        for each in (compiled, compacted, loaded):
            torch.testing.assert_close(each(example).detach(), model(example).detach(), rtol=2e-5, atol=0)
    assert flushes_denormals()


def test_the_mode_comes_back_after_a_failure(flushing: None) -> None:
    with pytest.raises(l0.L0CompileError):
        l0.compile(Tiny(), (torch.ones(3, 8),))  # in training mode
    assert flushes_denormals()


def test_pytorchs_other_threads_follow() -> None:
    """They keep the mode in which they were started, and would go on reading half of a large tensor as zeros."""
    threads, values = (
        torch.get_num_threads(),
        torch.full((1 << 20,), 71362, dtype=torch.int32).view(torch.float32),
    )
    if not torch.set_flush_denormal(True):
        pytest.skip("this machine cannot flush denormals")
    try:
        torch.set_num_threads(2)
        with denormals_kept():
            pass  # ends the threads that may be there already
        assert int((values * 1.0 == 0).sum()) == len(values)
        with denormals_kept():
            assert not bool((values * 1.0 == 0).any())
        assert int((values * 1.0 == 0).sum()) == len(values)
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
    with denormals_kept():
        assert not bool((values * 1.0 == 0).any())


def test_half_precision_has_denormals_that_are_no_burden() -> None:
    """What float16 calls denormal, up to 6e-5, is an ordinary weight: it is computed in float32."""
    model = nn.Linear(8, 4, dtype=torch.float16).eval()
    with torch.no_grad():
        model.weight.copy_(torch.rand(4, 8) * 5e-5)
    assert not lost_denormals(optimise_dense(capture(model, (torch.ones(3, 8, dtype=torch.float16),))))
