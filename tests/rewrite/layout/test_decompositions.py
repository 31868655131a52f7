"""Every operator of decompose's table, written out, has PyTorch's values."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from l0compile.ir.program import Program
from l0compile.rewrite.layout.decompose import decompose
from l0compile.rewrite.layout.decompositions import DECOMPOSITIONS

aten = torch.ops.aten

X = torch.cat(
    [torch.tensor([0.0, 1.0, -1.0, 0.5, -0.5, 30.0, -30.0, 1e-6]), torch.linspace(-4, 4, 16)]
).reshape(4, 6)
Y = X.roll(5).reshape(4, 6) + 2.5
SQUARE = torch.arange(16.0).reshape(4, 4) / 7 - 1
CUBE = torch.sin(torch.arange(48.0)).reshape(2, 4, 6)
IMAGE = torch.cos(torch.arange(96.0)).reshape(1, 4, 6, 4)
WEIGHT, BIAS = torch.arange(1.0, 5.0), torch.tensor([0.5, -0.5, 0.0, 2.0])

EXAMPLES: dict[Any, tuple[Any, ...]] = {
    aten.elu.default: (X, 0.7),
    aten.glu.default: (X, -1),
    aten.hardswish.default: (X,),
    aten.hardsigmoid.default: (X,),
    aten.softplus.default: (X, 2.0),
    aten.mish.default: (X,),
    aten.celu.default: (X, 0.7),
    aten.selu.default: (X,),
    aten.softshrink.default: (X, 0.7),
    aten.hardshrink.default: (X, 0.5),
    aten.threshold.default: (X, 0.5, -3.0),
    aten.log_sigmoid_forward.default: (X,),
    aten.addcmul.default: (X, Y, X),
    aten.addcdiv.default: (X, Y, Y.square() + 1),
    aten.addmm.default: (BIAS, SQUARE, SQUARE),
    aten.baddbmm.default: (CUBE[:, :, :4], CUBE, CUBE.mT.contiguous()),
    aten.addmv.default: (BIAS, SQUARE, WEIGHT),
    aten.layer_norm.default: (CUBE, [4, 6], X, Y),
    aten.native_layer_norm.default: (CUBE, [4, 6], X, Y, 1e-5),
    aten.rms_norm.default: (CUBE, [4, 6], X),
    aten.group_norm.default: (CUBE, 2, WEIGHT, BIAS),
    aten.native_group_norm.default: (CUBE, WEIGHT, BIAS, 2, 4, 6, 2, 1e-5),
    aten.upsample_nearest1d.vec: (CUBE, None, [2.0]),
    aten.upsample_nearest2d.vec: (IMAGE, None, [2.0, 1.5]),
    aten.upsample_nearest2d.default: (IMAGE, [5, 9]),
    aten.upsample_bilinear2d.vec: (IMAGE.abs() + 1, None, False, [2.0, 2.0]),
    aten.upsample_bilinear2d.default: (IMAGE, [7, 5], True),
    aten.pixel_shuffle.default: (IMAGE, 2),
    aten.pixel_unshuffle.default: (IMAGE, 2),
    aten.lerp.Scalar: (X, Y, 0.3),
    aten.lerp.Tensor: (X, Y, torch.sigmoid(X)),
    aten.logaddexp.default: (X, Y),
    aten.logsumexp.default: (X, [1]),
    aten.expm1.default: (X,),
    aten.sinc.default: (X,),
    aten.nan_to_num.default: (torch.tensor([1.0, float("nan"), float("inf"), -float("inf")]), 7.0),
    aten.rot90.default: (IMAGE, 1, [2, 3]),
    aten.linspace.default: (-1.0, 2.0, 7),
    aten.scaled_dot_product_attention.default: (IMAGE, IMAGE, IMAGE),
    torch.ops.l0compile.capped_attention.default: (
        IMAGE, IMAGE, IMAGE, None, 0.0, True, None, False, 0.7,
    ),
    aten.einsum.default: ("bij,bkj->bik", [CUBE, CUBE + 1]),
    aten.var.correction: (CUBE, [1, 2]),
    aten.var.dim: (CUBE, [1], False),
    aten.var_mean.correction: (CUBE, [-1]),
    aten.var_mean.dim: (CUBE, [0, 2], True, True),
    aten.std.correction: (CUBE, [1]),
    aten.std.dim: (CUBE, [2], True, True),
    aten.diff.default: (CUBE, 1, 1),
    aten.prelu.default: (CUBE, BIAS),
    aten.one_hot.default: (torch.tensor([[0, 2], [3, 1]]), 4),
}  # fmt: skip
# Results that only training reads: empty in eager mode, or of another shape in the decomposition.
FIRST_ONLY = (aten.log_sigmoid_forward.default,)


def test_every_operator_has_an_example() -> None:
    assert set(EXAMPLES) == set(DECOMPOSITIONS)


@pytest.mark.parametrize("operator", EXAMPLES, ids=str)
def test_same_values_as_pytorch(operator: Any) -> None:
    args = EXAMPLES[operator]
    expected, got = operator(*args), DECOMPOSITIONS[operator](*args)
    if operator in FIRST_ONLY:
        expected, got = expected[0], got[0]
    # Of every number for itself: small values must not be lost beside large ones. Sums cancel, in any order.
    sums = operator in (
        aten.scaled_dot_product_attention.default,
        torch.ops.l0compile.capped_attention.default,
    )
    torch.testing.assert_close(got, expected, rtol=2e-6, atol=1e-7 if sums else 1e-12, check_stride=False)


class Together(nn.Module):
    """Every operator once, on its tensors as inputs."""

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        given = iter(tensors)
        results = []
        for operator, args in EXAMPLES.items():
            leaves = [next(given) if isinstance(arg, Tensor) else arg for arg in args]
            results.append(pytree.tree_leaves(operator(*leaves))[0])
        return results


def test_recorded_on_shapes_alone_none_is_left(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    tensors = [arg for args in EXAMPLES.values() for arg in args if isinstance(arg, Tensor)]
    program = captured(Together(), tensors)
    result = apply_once(program, decompose, *tensors)
    assert not [node for node in result.graph.nodes if node.target in DECOMPOSITIONS]
