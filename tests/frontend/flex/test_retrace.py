"""What PyTorch keeps of earlier calls of flex_attention must not disturb a capture."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from l0compile.frontend.flex.retrace import forgetting_earlier_calls
from tests.frontend.flex.flex_models import Flex, qkv


def test_earlier_calls_do_not_disturb_a_trace() -> None:
    """Without the block PyTorch 2.13 cannot say why the guards of the first call fail for the second."""
    q, k, _ = qkv(kv=4)
    mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 50, 50, device="cpu", BLOCK_SIZE=16)
    first = Flex(mask, lambda table, s, b, h, i, j: s + table[h] * (i - j), torch.ones(4))
    with torch.no_grad():
        torch.export.export(first.eval(), (q, k, k))
        with pytest.raises(TypeError):
            torch.export.export(Flex().eval(), (q, q, q))
        with forgetting_earlier_calls():
            torch.export.export(Flex().eval(), (q, q, q))
