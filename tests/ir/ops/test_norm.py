"""The norms over part of a vector equal the norm of the whole vector, at the channels that are left."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.norm import NORM_FORMULAS

l0 = torch.ops.l0compile
sizes = st.integers(1, 9)


@st.composite
def vectors(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """(x [3, width], constant in the removed channels; which are kept; weight and bias [2, width])."""
    torch.manual_seed(draw(st.integers(0, 999)))
    width, spread = draw(st.integers(2, 12)), draw(st.sampled_from([0.01, 1.0, 30.0]))
    kept = torch.rand(width) < draw(st.sampled_from([0.2, 0.7, 1.0]))
    kept[0] = True
    constants = torch.randn(width) * spread + draw(st.sampled_from([0.0, 3.0]))
    x = torch.where(kept, torch.randn(3, width) * spread, constants)
    return x, kept, torch.randn(2, width)


@given(case=vectors(), affine=st.booleans())
def test_layer_norm_of_the_whole_vector(case: tuple[Tensor, Tensor, Tensor], affine: bool) -> None:
    x, kept, (weight, bias) = case
    w, b = (weight, bias) if affine else (None, None)
    expected = F.layer_norm(
        x.double(), x.shape[-1:], *(p.double() if affine else None for p in (weight, bias)), 1e-5
    )
    removed = x[0, ~kept].double()
    mean = float(removed.mean()) if len(removed) else 0.0
    m2 = float((removed - mean).square().sum())
    parts = [None if p is None else p[kept] for p in (w, b)]
    actual = l0.compacted_layer_norm(x[:, kept], *parts, 1e-5, x.shape[-1], mean, m2)
    torch.testing.assert_close(actual.double(), expected[:, kept], rtol=1e-4, atol=2e-5)


@given(case=vectors(), affine=st.booleans())
def test_rms_norm_of_the_whole_vector(case: tuple[Tensor, Tensor, Tensor], affine: bool) -> None:
    x, kept, (weight, _) = case
    expected = F.rms_norm(x.double(), x.shape[-1:], weight.double() if affine else None, 1e-6)
    squares = float(x[0, ~kept].double().square().sum())
    part = weight[kept] if affine else None
    actual = l0.compacted_rms_norm(x[:, kept], part, 1e-6, x.shape[-1], squares)
    torch.testing.assert_close(actual.double(), expected[:, kept], rtol=1e-5, atol=1e-6)


@given(width=sizes, affine=st.booleans())
def test_without_removed_channels_they_are_the_ordinary_norms(width: int, affine: bool) -> None:
    x, weight, bias = torch.randn(2, 3, width), torch.randn(width), torch.randn(width)
    w, b = (weight, bias) if affine else (None, None)
    actual = l0.compacted_layer_norm(x, w, b, 1e-5, width, 0.0, 0.0)
    torch.testing.assert_close(actual, F.layer_norm(x, (width,), w, b, 1e-5), rtol=1e-5, atol=2e-6)
    actual = l0.compacted_rms_norm(x, w, 1e-6, width, 0.0)
    torch.testing.assert_close(actual, F.rms_norm(x, (width,), w, 1e-6), rtol=1e-5, atol=2e-6)


def test_refusals() -> None:
    x = torch.randn(2, 4)
    with pytest.raises(InputError, match="width of at least the 4 channels"):
        l0.compacted_rms_norm(x, None, 1e-6, 3, 0.0)
    with pytest.raises(InputError, match=r"weight and bias of shape \[4\]"):
        l0.compacted_layer_norm(x, torch.ones(5), None, 1e-6, 6, 0.0, 0.0)


CALLS = {
    "compacted_layer_norm": (1e-5, 7, 0.5, 2.0),
    "compacted_rms_norm": (1e-5, 7, 2.0),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("affine", [True, False])
def test_fake_real_and_formula_agree(name: str, affine: bool) -> None:
    x, op = torch.randn(2, 3, 4), getattr(l0, name).default
    count = 2 if name == "compacted_layer_norm" else 1
    args = (x, *(torch.randn(4) if affine else None for _ in range(count)), *CALLS[name])
    torch.library.opcheck(op, args, test_utils=("test_schema", "test_faketensor"))
    traced = make_fx(lambda *tensors: op(*tensors, *args[1 + count :]), decomposition_table=NORM_FORMULAS)(
        *args[: 1 + count]
    )
    targets = {str(node.target) for node in traced.graph.nodes if node.op == "call_function"}
    assert all(target.startswith("aten.") for target in targets)
    torch.testing.assert_close(traced(*args[: 1 + count]), op(*args))
