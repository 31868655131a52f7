"""Casts to bfloat16. TVM's own makes numbers of some NaNs, and drops a cast that is cast back."""

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0

# NaNs whose rounding carries into the sign, quiet and signalling ones, infinity, numbers half way between two others.
EDGES = [0x7FFFFFFF, -1, 0x7F800001, 0x7FC00000, 0x7F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF]


class Cast(nn.Module):
    def __init__(self, back: bool) -> None:
        super().__init__()
        self.back = back

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(torch.bfloat16)
        return y.to(torch.float32) if self.back else y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64], ids=str)
@pytest.mark.parametrize("back", [False, True])
def test_rounds_as_pytorch_does_and_keeps_nan(dtype: torch.dtype, back: bool) -> None:
    torch.manual_seed(0)
    bits = torch.cat([torch.tensor(EDGES), torch.randint(-(2**31), 2**31, (4087,))]).to(torch.int32)
    x = bits.view(torch.float32)
    x = torch.where(x.abs() < 2.0**-126, 0.0, x)  # denormals are flushed on purpose
    x = bits.to(dtype) if dtype is torch.int64 else x.to(dtype)
    model = Cast(back).eval()
    compiled = l0.compile(model, (torch.ones_like(x),), engine="tvm")
    assert not compiled.explain().islands
    torch.testing.assert_close(compiled(x), model(x), rtol=0.0, atol=0.0, equal_nan=True)
