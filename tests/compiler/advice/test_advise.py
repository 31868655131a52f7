"""Advice is what the compiler then does: a gate that is said to pay frees what is said to shrink."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.compiler.advice import Advice, Option
from l0compile.compiler.advice.text import advice_lines
from l0compile.frontend.export import capture
from l0compile.rewrite.pipeline import optimise


class Layer(nn.Module):
    """Pre-norm transformer layer with 4 heads of 8 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.query, self.key, self.value, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.up, self.down = nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm1(x)
        q, k, v = (m(h).unflatten(-1, (4, 8)).transpose(1, 2) for m in (self.query, self.key, self.value))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), Layer(), nn.Linear(32, 5)).eval()


@pytest.fixture(scope="module")
def advice() -> Advice:
    """Of a few, the first whose parts were timed as quietly as the whole: other processes may run in between."""
    sizes = {"input": {0: "batch", 1: "tokens"}}
    for _ in range(5):
        found = l0.advise(model(), (torch.randn(2, 9, 16),), dynamic_shapes=sizes)
        if sum(found.regions.values()) < found.total:
            break
    return found


def option(advice: Advice, module: str, granularity: str) -> Option:
    (found,) = [o for o in advice.options if (o.module, o.granularity) == (module, granularity)]
    return found


def test_heads_neurons_layers_and_blocks_are_found(advice: Advice) -> None:
    heads = option(advice, "1.out", "Head(4)")
    assert heads.units == 4 and not heads.blocked
    assert {"1.query", "1.key", "1.value", "1.out"} < set(heads.shrinks)
    neurons = option(advice, "1.down", "Neuron()")
    assert neurons.units == 64 and set(neurons.shrinks) == {"1.up", "1.down"}
    assert neurons.per_unit == pytest.approx(neurons.cost / 64)
    assert set(option(advice, "1.down", "Layer()").shrinks) == {"1.up", "1.down"}
    assert option(advice, "1.up", "Block(4, 1)").units == 16 * 32


def test_what_cannot_go_says_why(advice: Advice) -> None:
    assert "output of the model" in option(advice, "2", "Feature()").blocked
    assert option(advice, "1.up", "Neuron()").per_unit == 0
    assert any("norm" in reason for reason in advice.obstacles)


def test_costs_are_measured_here_and_add_up(advice: Advice) -> None:
    assert advice.unit == "ms" and advice.sizes == {"batch": 2, "tokens": 9}
    assert 0 < sum(advice.regions.values()) < advice.total
    # What is between kernels may be lost in the noise of so small a model.
    assert {"attention", "other kernels"} <= set(advice.rest)


@pytest.mark.parametrize(
    "module, granularity", [("1.out", l0.Head(4)), ("1.down", l0.Neuron()), ("1.down", l0.Layer())]
)
def test_closing_what_pays_shrinks_what_is_said(advice: Advice, module: str, granularity: object) -> None:
    gated = model()
    l0.attach(gated, {module: granularity})  # type: ignore[dict-item]
    with torch.no_grad():
        for name, parameter in gated.named_parameters():
            if "log_alpha" in name:
                parameter.fill_(5.0)
                # A quarter: a single neuron of 64 would stay for the sake of whole vectors.
                parameter.view(-1)[: max(1, parameter.numel() // 4)] = -5.0
    l0.harden(gated)
    program = optimise(capture(gated.eval(), (torch.randn(2, 9, 16),)), l0.load_target("native"))
    written = f"{type(granularity).__name__}({', '.join(map(str, vars(granularity).values()))})"
    shrunk = {r.name for r in program.regions if r.format != "dense"}
    assert shrunk == set(option(advice, module, written).shrinks)


def test_a_target_that_is_not_here_is_counted() -> None:
    target = "aarch64-neon" if "aarch64-neon" in l0.list_targets() else l0.list_targets()[0]
    counted = l0.advise(model(), (torch.randn(2, 9, 16),), target=target)
    assert counted.unit == "multiplications" and counted.rest == {}
    assert counted.regions["1.up"] == 2 * 9 * 32 * 64
    text = "\n".join(line.text for line in advice_lines(counted, 100))
    assert "Counted, not timed." in text and "M mult." in text


def test_the_text_names_patterns_to_attach(advice: Advice) -> None:
    lines = [line.text for line in advice_lines(advice, 100)]
    text = " ".join(" ".join(lines).split())
    assert (
        '"*.out": Head(4)' in text
        and '"*.down": Neuron()' in text
        and "would buy nothing by themselves" in text
    )
    assert max(map(len, lines)) <= 100
