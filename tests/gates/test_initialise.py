"""Scores from calibration inputs, and gates that start from scores."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates import (
    Block,
    Feature,
    Head,
    Layer,
    Neuron,
    attach,
    dense_weight,
    harden,
    init_from_scores,
    named_gates,
    saliency,
)
from l0compile.gates.hard_concrete import median


def linear(*granularities: object) -> nn.Sequential:
    torch.manual_seed(0)
    return attach(nn.Sequential(nn.Linear(10, 7)), {"0": granularities})


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["group", "global"]), st.integers(0, 99))
def test_exactly_the_best_scored_start_open(density: float, band: float, scope: str, seed: int) -> None:
    model = linear(Block(2, 3), Neuron())
    torch.manual_seed(seed)
    scores = {name: torch.rand(gate.log_alpha.shape) for name, gate in named_gates(model).items()}
    init_from_scores(model, scores, density, scope=scope, band=band)
    groups = [list(scores)] if scope == "global" else [[name] for name in scores]
    for names in groups:
        score = torch.cat([scores[name].flatten() for name in names])
        alpha = torch.cat([named_gates(model)[name].log_alpha.flatten() for name in names])
        is_open = median(alpha) > 0
        assert is_open.sum() == round(density * score.numel())
        if is_open.any() and not is_open.all():
            assert score[is_open].min() > score[~is_open].max()
        assert (alpha[score.argsort()].diff() >= 0).all()


def test_densities_by_name_and_gates_left_out() -> None:
    model = linear(Block(1, 1), Neuron())
    block, neuron = (named_gates(model)[f"0.l0_{kind}"] for kind in ("block", "neuron"))
    before = neuron.log_alpha.clone()
    init_from_scores(model, {"0.l0_block": torch.rand(7, 10)}, {"0.l0_block": 0.5}, band=0.0)
    assert torch.equal(neuron.log_alpha, before)
    assert set(median(block.log_alpha).unique().tolist()) == {0.0, 1.0}


def test_saliency_is_the_energy_of_the_outputs_lost() -> None:
    model = linear(Block(3, 4), Neuron(), Head(5), Feature(), Layer()).train()
    batches = [torch.randn(4, 6, 10), torch.randn(3, 10)]
    scores = saliency(model, batches)
    x = torch.cat([b.reshape(-1, 10) for b in batches])
    energy = dense_weight(model[0]).square() * x.square().mean(0)
    padded = nn.functional.pad(energy, (0, 2, 0, 2)).reshape(3, 3, 3, 4)
    y = nn.functional.linear(x, dense_weight(model[0]), model[0].bias).square().mean(0)
    expected = {
        "0.l0_block": padded.sum((1, 3)), "0.l0_neuron": energy.sum(0), "0.l0_head": energy.sum(0).reshape(5, 2).sum(1),
        "0.l0_feature": y, "0.l0_layer": y.mean(0, keepdim=True),
    }  # fmt: skip
    assert scores.keys() == expected.keys() and model.training
    for name, value in scores.items():
        torch.testing.assert_close(value, expected[name].detach().sqrt())
    assert not model[0]._forward_hooks or len(model[0]._forward_hooks) == 1
    assert len(model[0]._forward_pre_hooks) == 1


def test_saliency_takes_mappings_tuples_and_a_forward() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
            return self.fc(x * scale)

    model, x = attach(Two(), {"fc": Neuron()}), torch.randn(4, 3)
    once = saliency(model, [x])["fc.l0_neuron"]
    for batches in ([(x, 2.0)], [{"x": x, "scale": 2.0}]):
        torch.testing.assert_close(saliency(model, batches)["fc.l0_neuron"], once * 2)
    torch.testing.assert_close(saliency(model, ["b"], lambda m, _: m(x))["fc.l0_neuron"], once)
    with pytest.raises(GateError, match="no input for"):
        saliency(model, [])


def test_scores_that_do_not_fit() -> None:
    model = linear(Block(1, 1))
    with pytest.raises(GateError, match=r"near matches: .*0\.l0_block"):
        init_from_scores(model, {"0.l0_blok": torch.rand(7, 10)}, 0.5)
    with pytest.raises(GateError, match=r"expected scores \(7, 10\)"):
        init_from_scores(model, {"0.l0_block": torch.rand(10, 7)}, 0.5)
    with pytest.raises(GateError, match=r"in \[0, 1\]"):
        init_from_scores(model, {"0.l0_block": torch.rand(7, 10)}, 1.5)
    with pytest.raises(GateError, match="no density for gate"):
        init_from_scores(model, {"0.l0_block": torch.rand(7, 10)}, {})
    harden(model)
    with pytest.raises(GateError, match="hardened=True"):
        init_from_scores(model, {"0.l0_block": torch.rand(7, 10)}, 0.5)
