"""cond, while_loop, map and scan: islands whose bodies are data; blocks under a setting of PyTorch are written out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._higher_order_ops.map import map as map_rows
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional as F

import l0compile as l0
from l0compile.errors import CaptureError, InputError
from l0compile.frontend.export import capture
from l0compile.ir.ops.control_flow import scan as scan_rows
from l0compile.rewrite.normalize.cse import cse
from l0compile.rewrite.runner import run

NAMES = {"x": {0: "batch", 1: "length"}}


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.inner, self.down = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        with torch.no_grad():  # dead channels, which control flow reads all the same
            self.up.weight[:2] = 0
            self.up.bias[:2] = 0
            self.inner.weight[:, 3:5] = 0


class Branches(Two):
    """One branch inside another, parameters in a branch, and the same branches the other way round."""

    def forward(self, x: Tensor) -> Tensor:
        def inside(h: Tensor) -> Tensor:
            return torch.cond(h.max() > 1, lambda t: t.sum() * 2, lambda t: t.mean(), (h,))

        def left(h: Tensor) -> tuple[Tensor, Tensor]:
            return F.relu(self.inner(h)) + torch.full((8,), 1.5), h.sum()

        def right(h: Tensor) -> tuple[Tensor, Tensor]:
            return h * 2, inside(h)

        h = self.up(x)
        y, z = torch.cond(h.mean() > 0, left, right, (h,))
        other, _ = torch.cond(h.mean() > 0, right, left, (h,))
        return self.down(y) + z - self.down(other)


class BySize(Two):
    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        return self.down(torch.cond(x.shape[1] > 4, lambda t: t.relu(), lambda t: t * t.shape[1], (h,)))


class Loop(Two):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def small(i: Tensor, h: Tensor) -> Tensor:
            return (i < 6) & (h.abs().sum() < 100)

        h = self.up(x)
        i, h = while_loop(
            small, lambda i, h: (i + 1, self.inner(h) + h * 1.3), (torch.zeros((), dtype=torch.int64), h)
        )
        return self.down(h), i


class Rows(Two):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h = self.up(x)
        steps = h.transpose(0, 1).contiguous()
        start = torch.zeros(h.shape[0], 8)
        last, y = scan(lambda c, t: (c * 0.9 + t, torch.tanh(c + t)), start, steps, dim=0)
        return self.down(y), last, self.down(map_rows(lambda t, w: t * w + 1, h, torch.ones(8) * 2))


@pytest.mark.parametrize("build", [Branches, BySize, Loop, Rows], ids=lambda build: build.__name__)
def test_answers(build: Callable[[], nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build().eval()
    compiled = l0.compile(model, (torch.randn(2, 3, 6),), dynamic_shapes=NAMES, engine="tvm")
    compiled.save(tmp_path / "model")
    loaded = l0.load(tmp_path / "model")
    for shift in (-2.0, 0.0, 2.0):
        x = torch.randn(3, 5, 6) + shift
        with torch.no_grad():
            wanted = model(x)
        for engine in (compiled, loaded):
            torch.testing.assert_close(engine(x), wanted, rtol=2e-5, atol=2e-5)
    assert any("higher_order" in o.target for stage in compiled.explain().islands for o in stage.operators)


def test_in_pytorch_alone() -> None:
    torch.manual_seed(0)
    model = Branches().eval()
    compiled = l0.compile(model, (torch.randn(2, 3, 6),), engine="torch")
    for shift in (-2.0, 2.0):
        x = torch.randn(2, 3, 6) + shift
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x), rtol=2e-5, atol=2e-5)


def test_other_bodies_are_another_operator() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            positive = x.sum() > 0
            first = torch.cond(positive, lambda t: t + 1, lambda t: t - 1, (x,))
            return first, torch.cond(positive, lambda t: t * 2, lambda t: t - 1, (x,))

    x = torch.ones(3)
    program = capture(Same().eval(), (x,))
    got = run(program, [cse]).run(x)
    assert torch.equal(got[0], x + 1) and torch.equal(got[1], x * 2)


class Settings(Two):
    """Autocast, autocast off inside it, and gradients switched on and off."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            h = self.up(x)
            with torch.autocast("cpu", enabled=False):
                g = self.inner(h.float())
            h = torch.softmax(self.inner(h), -1)
        with torch.enable_grad():
            h = h + 1
        with torch.no_grad():
            h = torch.cond(h.sum() > 0, lambda t: t * 2, lambda t: t - 2, (h,))
        return self.down(h.float()) + self.down(g)


def test_settings_are_written_out_with_every_cast() -> None:
    torch.manual_seed(0)
    model, x = Settings().eval(), torch.randn(2, 3, 6)
    program = capture(model, (x,))
    assert not any("wrap" in str(node.target) for node in program.graph.nodes)
    with torch.no_grad():
        assert torch.equal(program.run(x), model(x))


def test_refusals() -> None:
    class Numbers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda t: t + torch.tensor([1.0, 2.0]), lambda t: t - 1, (x,))  # type: ignore[no-any-return]

    with pytest.raises(CaptureError, match="makes a tensor from Python numbers"):
        capture(Numbers().eval(), (torch.ones(2),))
    with pytest.raises(InputError, match="expected one element or more"):
        scan_rows(lambda c, t: (c, t), 1, 1, torch.ones(2), torch.ones(0, 2))


def test_unknown_operators_on_graphs_are_refused() -> None:
    class Hinted(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return torch.ops.higher_order.hints_wrapper(lambda t: t + 1, (x,), {}, hints={})

    with pytest.raises(CaptureError, match=r"expected .*, got"):
        capture(Hinted().eval(), (torch.ones(3, 2),))
