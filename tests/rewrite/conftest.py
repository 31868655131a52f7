"""Models, programs and checks that the tests of several passes share."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.hardware.targets import Target, load_target
from l0compile.ir.program import Program
from l0compile.rewrite.runner import Rewrite, run


class PreNorm(nn.Module):
    """A hand-written pre-norm transformer: float tokens [B, S, 12] and a padding mask [B, S] in, [B, S, 12] out."""

    def __init__(
        self, width: int = 12, heads: int = 3, hidden: int = 20, layers: int = 2, causal: bool = False
    ):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(width),
                    **{name: nn.Linear(width, width) for name in ("q", "k", "v", "out")},
                    "norm2": nn.LayerNorm(width),
                    "up": nn.Linear(width, hidden),
                    "down": nn.Linear(hidden, width),
                }
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def attend(self, layer: nn.ModuleDict, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (layer[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in ("q", "k", "v"))
        keys = None if self.causal else mask[:, None, None, :].bool()
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=keys, is_causal=self.causal)
        return layer["out"](h.transpose(1, 2).reshape(x.shape))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + self.attend(layer, layer["norm1"](x), mask)
            x = x + layer["down"](F.gelu(layer["up"](layer["norm2"](x))))
        return self.norm(x)


def tokens(batch: int = 2, length: int = 5, width: int = 12) -> tuple[Tensor, Tensor]:
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[0, length // 2 + 1 :] = 0
    return torch.randn(batch, length, width), mask


@pytest.fixture(scope="session")
def target() -> Target:
    """A target that has the block shapes and efficiencies the tests are written for, whatever the machine."""
    table = (((4, 1), 1.0), ((4, 4), 1.0), ((2, 1), 0.7), ((1, 1), 0.4))
    return replace(load_target("native"), blocks=tuple(block for block, _ in table), efficiency=table)


@pytest.fixture(scope="session")
def prenorm() -> Callable[..., nn.Module]:
    def build(**options: Any) -> nn.Module:
        torch.manual_seed(0)
        return PreNorm(**options).eval()

    return build


@pytest.fixture(scope="session")
def make_tokens() -> Callable[..., tuple[Tensor, Tensor]]:
    return tokens


@pytest.fixture(scope="session")
def prenorm_program(prenorm: Callable[..., nn.Module]) -> Program:
    """PreNorm with symbolic batch and length."""
    names = {0: "batch", 1: "length"}
    return capture(prenorm(), tokens(), dynamic_shapes={"x": names, "mask": names})


@pytest.fixture(scope="session")
def agree() -> Callable[..., None]:
    """``agree(before, after, *inputs)``: same results within 1e-5 of the largest."""

    def check(before: Program, after: Program, *inputs: Any) -> None:
        with torch.no_grad():
            pairs = zip(before.module()(*inputs), after.module()(*inputs), strict=True)
        for wanted, given in pairs:
            expected, got = (torch.view_as_real(t) if t.is_complex() else t for t in (wanted, given))
            floating = expected.dtype.is_floating_point
            limit = 1e-5 * max(float(expected.abs().max()), 1e-3) if floating else 0
            torch.testing.assert_close(got, expected, rtol=0, atol=limit)

    return check


@pytest.fixture(scope="session")
def apply_once(agree: Callable[..., None]) -> Callable[..., Program]:
    """``apply_once(program, pass, *inputs)``: run a pass, check its result, and that a second run does nothing."""

    def check(program: Program, step: Rewrite, *inputs: Any) -> Program:
        text, constants = str(program.graph), dict(program.constants)
        result = run(program, [step])
        assert str(program.graph) == text, "the pass changed its input"
        assert all(program.constants[name] is tensor for name, tensor in constants.items())
        agree(program, result, *inputs)
        again = run(result, [step])
        assert again.history[-1].changed == 0 and str(again.graph) == str(result.graph)
        return result

    return check


@pytest.fixture(scope="session")
def count() -> Callable[..., int]:
    """``count(program, operator)``: how many nodes call it."""
    return lambda program, operator: len(program.graph.find_nodes(op="call_function", target=operator))


@pytest.fixture(scope="session")
def captured() -> Callable[..., Program]:
    """Capture a module in eval mode with fixed sizes."""
    return lambda model, *inputs: capture(model.eval(), inputs)
