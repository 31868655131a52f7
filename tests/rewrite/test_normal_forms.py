"""fold_batch_norm and splits_to_slices: the same function, written one way; what does not fit is left."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.fold_batch_norm import fold_batch_norm
from l0compile.rewrite.normalize.splits_to_slices import splits_to_slices
from l0compile.rewrite.runner import run

aten = torch.ops.aten
NORM, TRACED_NORM = aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default


class Normed(nn.Module):
    def __init__(self, layer: str, affine: bool, read_twice: bool) -> None:
        super().__init__()
        self.read_twice = read_twice
        rank = {"linear": 1, "conv1d": 1}.get(layer, 2)
        make = {
            "linear": lambda: nn.Linear(4, 6), "conv1d": lambda: nn.Conv1d(4, 6, 3),
            "conv2d": lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False), "relu": nn.ReLU,
            "transposed": lambda: nn.ConvTranspose2d(4, 6, 2),
        }  # fmt: skip
        self.layer = make[layer]()
        norm = nn.BatchNorm1d if rank == 1 else nn.BatchNorm2d
        self.norm = norm(4 if layer == "relu" else 6, affine=affine)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        for parameter in self.norm.parameters():
            nn.init.normal_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return self.norm(h) + h if self.read_twice else self.norm(h)


SHAPES = {"linear": (3, 4), "conv1d": (2, 4, 7)}


@pytest.mark.parametrize("layer", ["linear", "conv1d", "conv2d", "relu", "transposed"])
@settings(max_examples=8)
@given(affine=st.booleans(), read_twice=st.booleans(), seed=st.integers(0, 1000))
def test_batch_norm(
    layer: str,
    affine: bool,
    read_twice: bool,
    seed: int,
    apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(SHAPES.get(layer, (2, 4, 5, 5)))
    program = run(capture(Normed(layer, affine, read_twice).eval(), (x,)), [canonicalize])
    result = apply_once(program, fold_batch_norm, x)
    assert count(program, NORM) == 1 and count(result, NORM) == 0
    folds = layer in ("linear", "conv1d", "conv2d") and not read_twice
    assert count(result, aten.mul.Tensor) == (0 if folds else 1)


def test_batch_norm_of_a_model_that_is_traced_again(
    apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    # What writes in place is not functional as exported, and tracing it again spells the norm otherwise.
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True)).eval()
    x = torch.randn(2, 4, 5, 5)
    program = run(capture(model, (x,)), [canonicalize])
    result = apply_once(program, fold_batch_norm, x)
    assert count(program, TRACED_NORM) == 1 and count(result, TRACED_NORM) == 0


@settings(max_examples=20)
@given(st.sampled_from(["split", "sizes", "chunk", "unbind"]), st.integers(-3, 2))
def test_splits(kind: str, dim: int) -> None:
    class Split(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            match kind:
                case "split":
                    return x.split(2, dim)[::-1]
                case "sizes":
                    return x.split([1, 4], dim)
                case "chunk":
                    return x.chunk(2, dim)
                case _:
                    return x.unbind(dim)[1:3]

    x = torch.randn(5, 5, 5)
    program = capture(Split().eval(), (x,))
    result = run(program, [splits_to_slices])
    assert all(map(torch.equal, result.run(x), program.run(x)))
    assert not [
        node for node in result.graph.nodes if "split" in str(node.target) or "unbind" in str(node.target)
    ]
