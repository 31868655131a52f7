"""What torch.export does that a user would not expect, and what comes out of the frontend all the same."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.utils import parametrize

from l0compile.errors import CaptureError
from l0compile.frontend.export import capture


class Split(nn.Module):
    """``len`` of a tensor is a plain number for torch.export's non-strict mode, which so fixes the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 2, 4)


class Flex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return flex_attention(x, x, x)


class FlexInBranch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, 16, 16, device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        mask = self.mask
        return torch.cond(
            x.sum() > 0, lambda y: flex_attention(y, y, y, block_mask=mask), lambda y: y * 1.0, (x,)
        )


class Positive(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.clamp(min=0.0)


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_len_keeps_a_named_batch_dynamic(batch: int) -> None:
    program = capture(Split().eval(), (torch.randn(3, 8),), None, dynamic_shapes={"x": {0: "batch"}})
    assert program.run(torch.randn(batch, 8)).shape == (batch, 2, 4)


def test_flex_attention_is_captured_but_not_in_a_branch() -> None:
    x = torch.randn(1, 2, 16, 16)
    program = capture(Flex().eval(), (x,), None)
    torch.testing.assert_close(program.run(x), Flex()(x))
    with pytest.raises(CaptureError, match=r"got flex_attention\. What to do: take it out of forward"):
        capture(FlexInBranch().eval(), (x,), None)


def test_a_cache_of_parametrizations_holds_real_tensors_afterwards() -> None:
    layer = nn.Linear(8, 8).eval()
    parametrize.register_parametrization(layer, "weight", Positive())
    x = torch.randn(2, 8)
    wanted = layer(x)
    with parametrize.cached():
        program = capture(layer, (x,), None)
        torch.testing.assert_close(layer(x), wanted)
    torch.testing.assert_close(program.run(x), wanted.detach())


def test_parameters_that_require_gradients_leave_none_in_the_graph() -> None:
    layer = nn.Linear(8, 8).eval()
    with torch.enable_grad():
        program = capture(layer, (torch.randn(2, 8, requires_grad=True),), None)
    assert not any(tensor.requires_grad for tensor in program.constants.values())
    assert not program.run(torch.randn(2, 8)).requires_grad
