"""An LSTM on packed weights gives what PyTorch's own gives, and its weights can be had back."""

import itertools

import pytest
import torch
from torch import nn

from l0compile.ir.instructions import Code, Instruction, Slot
from l0compile.runtime.prepacked import Prepacked, prepack

CASES = list(itertools.product((1, 2), (False, True), (False, True), (False, True)))


def packed(model: nn.LSTM) -> tuple[Prepacked, dict[str, torch.Tensor]]:
    """``model`` as the one instruction of a code with inputs x, h, c."""
    weights = {f"w{i}": tensor.detach() for i, tensor in enumerate(model._flat_weights)}
    slots = tuple(Slot(3 + i) for i in range(len(weights)))
    numbers = (model.bias, model.num_layers, 0.0, False, model.bidirectional, model.batch_first)
    result = 3 + len(weights)
    call = Instruction(
        "aten.lstm.input", (Slot(0), (Slot(1), Slot(2)), slots, *numbers), {}, result, (0, 1, 2)
    )
    return prepack(Code(3, tuple(weights), (call,), (Slot(result),)), weights), weights


@pytest.mark.parametrize(("layers", "both_ways", "batch_first", "bias"), CASES)
def test_same_as_pytorch(layers: int, both_ways: bool, batch_first: bool, bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.LSTM(5, 7, layers, bias=bias, batch_first=batch_first, bidirectional=both_ways).eval()
    found, weights = packed(model)
    function, args = found.kernels[0]
    assert args == (Slot(0), Slot(1), Slot(2))
    for batch, time in ((3, 4), (1, 1), (20, 3)):
        x = torch.randn((batch, time, 5) if batch_first else (time, batch, 5))
        one = torch.randn(1, 1, 7)
        state = one.expand(layers * (1 + both_ways), batch, 7)  # not laid out as a tensor of its shape
        with torch.no_grad():
            wanted, (h, c) = model(x, (state, state))
            got = function(x, state, state)
        assert all(torch.equal(a, b) for a, b in zip(got, (wanted, h, c), strict=True))
    assert len(found.originals) == 2 * layers * (1 + both_ways)
    assert all(torch.equal(unpack(), weights[name]) for name, unpack in found.originals.items())


def test_projections_are_left_alone() -> None:
    assert not packed(nn.LSTM(5, 7, proj_size=3).eval())[0].kernels
