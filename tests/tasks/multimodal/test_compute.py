"""Multiply-adds of a shared transformer, checked by counting those of the smaller model."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import l0compile as l0
from l0compile.gates import Budget, Feature, attach, harden, named_gates
from l0compile.tasks.multimodal.compute import compute_gates
from l0compile.tasks.multimodal.transformer import IdTokens, SharedTransformer


def counted(model: torch.nn.Module, ids: torch.Tensor) -> float:
    """Count the multiply-adds of products and attention of a call, per example."""
    # The counter knows attention only as two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    return counter.get_total_flops() / 2 / len(ids)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.2])
def test_the_budget_is_the_share_of_what_is_computed(density: float) -> None:
    torch.manual_seed(1)
    model = SharedTransformer({"text": IdTokens(50, 23, 32, padded=False)}, 2, 32, 2, 4, 0.0).eval()
    ids = torch.randint(0, 50, (4, 23))
    whole, plan = counted(model, ids), compute_gates(model, 24)
    assert whole == pytest.approx(sum(plan.cost.values()), rel=0.005)  # the classifier is the rest
    attach(model, plan.gates | {"between.*.text": Feature(32)})
    for gate in named_gates(model).values():
        with torch.no_grad():
            gate.log_alpha.uniform_(-4, 4)
    budget = Budget(model, density, 10, cost=plan.cost, feeds=plan.feeds)
    harden(model, budget, only="layers.*")
    harden(model, 1.0, only="between.*")
    left = counted(l0.compact(model, (ids,)), ids) / whole
    assert left == pytest.approx(density, abs=0.02) and left <= density + 0.005
