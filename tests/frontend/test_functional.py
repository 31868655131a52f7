"""Exported graphs that are taken as they are: the program is the one that tracing again would give."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from l0compile.frontend import export
from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.pipeline import optimise_dense

DYNAMIC = {"x": {0: "batch"}}


class Encoder(nn.Module):
    """Casts of a mask, expand_as, reshape and contiguous, as transformers write them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        mask = (x[..., :1] > 0).to(x.dtype).expand_as(x)
        heads = self.up(self.norm(x)).reshape(x.shape[0], -1, 4, 4).transpose(1, 2).contiguous()
        mixed = heads.transpose(1, 2).flatten(2).to(torch.float32)
        return x * mask.to(x) + self.drop(self.down(mixed))


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def operators(program: Program) -> list[tuple[str, str]]:
    """What is computed in which shape, after the rewrites that do not know the target."""
    nodes = optimise_dense(program).graph.nodes
    return [(str(node.target), str(node.meta["val"].shape)) for node in nodes if node.op == "call_function"]


@pytest.mark.parametrize(
    "make, x, dynamic",
    [(Encoder, (2, 5, 8), None), (Encoder, (2, 5, 8), DYNAMIC), (Vision, (2, 3, 9, 9), None)],
)
def test_as_if_traced_again(
    make: Callable[[], nn.Module], x: tuple[int, ...], dynamic: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, example = make().eval(), torch.randn(x)
    asked: list[bool] = []
    real = export.is_functional

    def once(exported: torch.export.ExportedProgram) -> bool:
        asked.append(real(exported))
        return asked[-1]

    monkeypatch.setattr(export, "is_functional", once)
    taken = operators(capture(model, (example,), dynamic_shapes=dynamic))
    assert asked == [True]
    monkeypatch.setattr(export, "is_functional", lambda _: False)
    assert operators(capture(model, (example,), dynamic_shapes=dynamic)) == taken


class WritesInPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x + 1
        y[:, 0] = 0
        return y.relu_()


def test_what_writes_to_memory_is_traced_again() -> None:
    x = torch.randn(2, 3)
    assert not export.is_functional(torch.export.export(WritesInPlace(), (x,)))
    program = capture(WritesInPlace().eval(), (x,))
    assert all("_." not in str(node.target) for node in program.graph.nodes)


def test_batch_norm_that_learns_is_traced_again() -> None:
    exported = torch.export.export(nn.BatchNorm1d(3), (torch.randn(2, 3),))
    assert not export.is_functional(exported)
