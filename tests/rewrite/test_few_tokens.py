"""few_tokens: one to three tokens, dense and block-sparse; more, and unknown numbers of them, stay."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from l0compile.capture import Program, capture
from l0compile.rewrite import run
from l0compile.rewrite.choose_formats import choose_formats
from l0compile.rewrite.few_tokens import few_tokens
from l0compile.targets import Target

l0 = torch.ops.l0compile
STEP = partial(few_tokens, rows=4)


@pytest.mark.parametrize("leading", [(3,), (1, 2), (4,)])
@pytest.mark.parametrize("density", [0.3, 1.0])
def test_small_layers(  # type: ignore[no-untyped-def]
    apply_once, captured, count: Callable[..., int], target: Target, leading: tuple[int, ...], density: float
) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(512, 510), torch.randn(*leading, 512)
    layer.weight.data[:508] *= (torch.rand(127, 512) < density).repeat_interleave(4, 0)
    chosen: Program = run(captured(layer, x), [partial(choose_formats, target=target)])
    result = apply_once(chosen, STEP, x)
    assert count(result, l0.packed_conv2d.default) == (x.numel() // 512 <= 3)


def test_unknown_numbers_of_tokens_and_small_layers_stay(captured) -> None:  # type: ignore[no-untyped-def]
    layer, x = nn.Linear(300, 300), torch.randn(2, 300)
    program = capture(layer.eval(), (x,), dynamic_shapes={"input": {0: "n"}})
    assert run(program, [STEP]).history[-1].changed == 0
    assert run(captured(nn.Linear(6, 5), torch.randn(1, 6)), [STEP]).history[-1].changed == 0


def test_wide_blocks_stay(captured, target: Target) -> None:  # type: ignore[no-untyped-def]
    layer = nn.Linear(800, 400)
    layer.weight.data[:, 400:] = 0
    program = captured(layer, torch.randn(1, 800))
    only = Target(**{**vars(target), "blocks": ((4, 4),)})
    chosen = run(program, [partial(choose_formats, target=only)])
    assert chosen.regions[0].block == (4, 4)
    assert run(chosen, [STEP]).history[-1].changed == 0
