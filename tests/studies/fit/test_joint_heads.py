"""Patterns of all heads together: never worse than one for all, and found where heads work together."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from l0compile.attention.assignment.joint import JointLosses
from l0compile.errors import InfeasibleError
from l0compile.studies.fit.heads import HeadPrices, head_name
from l0compile.studies.fit.joint_heads import JointHeads
from l0compile.studies.pruning.allocation import Menu
from l0compile.studies.pruning.level import Level
from tests.attention.window_pattern import Near


class Cancelling(nn.Module):
    """Heads 0 and 1 see the same and are subtracted: any pattern is free as long as both have it. Head 2 counts."""

    def forward(self, x: Tensor) -> Tensor:
        heads = torch.stack([x, x, x.flip(-1)], 1)
        a, b, c = nn.functional.scaled_dot_product_attention(heads, heads, heads).unbind(1)
        return 5 * a - 5 * b + c


CANDIDATES = {"attention": (Near(1, 1), Near(5, 5))}
COSTS = (1.0, 0.2, 0.4)


@pytest.fixture(scope="module")
def joint() -> JointHeads:
    torch.manual_seed(0)
    batches = [torch.randn(2, 40, 8) for _ in range(2)]
    losses = JointLosses(Cancelling(), batches, lambda model, x: model(x))
    return JointHeads({"": HeadPrices("attention", 3, COSTS[0], COSTS[1:], (0.1, 0.3))}, CANDIDATES, losses)


@pytest.mark.parametrize("budget", [0.6, 1.0, 1.4, 1.5, 2.2, 3.0])
def test_the_best_of_all_choices_is_found_and_no_start_beats_it(joint: JointHeads, budget: float) -> None:
    found = joint.improved([(1, 1, 1)], budget)
    fits = [choice for choice in product(range(3), repeat=3) if joint.ms(choice) <= budget * (1 + 1e-9)]
    assert joint.ms(found) <= budget * (1 + 1e-9)
    assert joint.loss(found) == min(map(joint.loss, fits))


def test_heads_that_cancel_out_are_told_from_heads_that_count(joint: JointHeads) -> None:
    assert joint.improved([], 1.4) == (1, 1, 0)
    assert joint.loss((1, 1, 0)) < 1e-9 < joint.loss((0, 1, 1))


def test_too_little_time_is_refused(joint: JointHeads) -> None:
    with pytest.raises(InfeasibleError, match=r"expected 0\.6 ms or more for all of them, got 0\.5"):
        joint.improved([], 0.5)


def test_an_allocation_keeps_its_other_layers_and_its_time(joint: JointHeads) -> None:
    def levels(name: str) -> tuple[Level, ...]:
        options = ("", *map(str, CANDIDATES["attention"]))
        return tuple(Level(None, n, 1.0, 0.1 * n, COSTS[n], pattern=p) for n, p in enumerate(options))

    names = [head_name("", head) for head in range(3)]
    menu = Menu({**{name: levels(name) for name in names}, "linear": (Level(None, 0, 1.0, 0.0, 3.0),)}, {})
    given = menu.allocate(3.0 + 1.45, {names[0]: 5.0, names[1]: 0.1, names[2]: 0.1})
    found = joint.better(given, menu)
    assert [found.layers[name].number for name in names] == [1, 1, 0]
    assert found.layers["linear"] == given.layers["linear"] and found.ms <= given.ms
    assert joint.seconds > 0 and joint.better(given, menu) == found
