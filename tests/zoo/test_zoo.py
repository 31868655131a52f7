"""Every model of the zoo, compiled at every setting, gives the answers of the pruned model."""

import pytest
import torch

from tests.zoo import MODELS, compare
from tests.zoo.check import SETTINGS, Setting, compiled_difference, pruned
from tests.zoo.compare import TOLERANCE

STRUCTURED, BLOCK = SETTINGS[2], SETTINGS[3]

# One of each kind that compiles in a few seconds; all others, and all other settings, are slow.
FAST = (
    ("bert", STRUCTURED),
    ("distilbert", BLOCK),
    ("mlp_mixer", STRUCTURED),
    ("llama", STRUCTURED),
    ("gcn", STRUCTURED),
    ("lstm", STRUCTURED),
    ("mixture_of_experts", STRUCTURED),
)


def check(name: str, setting: Setting) -> None:
    worst, _ = compiled_difference(MODELS[name], setting)
    assert worst <= TOLERANCE, f"{name}, {setting}: {worst:.1e}"


@pytest.mark.parametrize(("name", "setting"), FAST, ids=str)
def test_compiled_is_exact(name: str, setting: Setting) -> None:
    check(name, setting)


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_exact(name: str, setting: Setting) -> None:
    check(name, setting)


@pytest.mark.parametrize("name", ["bert", "gpt2", "resnet18", "lstm", "mixture_of_experts"])
def test_pruning_reaches_the_groups(name: str) -> None:
    """Half of every group is zero, and the answers change: what is pruned was in use."""
    zoo = MODELS[name]
    args, kwargs = zoo.inputs()
    with torch.no_grad():
        difference = compare(pruned(zoo, STRUCTURED)(*args, **kwargs), zoo.build()(*args, **kwargs))
    zeros = sum(int((p == 0).sum()) for p in pruned(zoo, STRUCTURED).parameters())
    assert 0.01 < difference < float("inf")
    assert zeros > 0.3 * sum(p.numel() for p in zoo.build().parameters())


def test_comparison_notices() -> None:
    x = torch.tensor([1.0, -2.0])
    assert compare({"a": x}, {"a": x.clone()}) == 0.0
    assert compare({"a": x + 0.002}, {"a": x}) == pytest.approx(1e-3, rel=1e-3)
    for other in (x.double(), x[:1], torch.tensor([1.0, float("nan")])):
        assert compare({"a": other}, {"a": x}) == float("inf")
    assert compare((x,), [x]) == float("inf")
    assert compare(torch.tensor([1]), torch.tensor([2])) == float("inf")
