"""A toy limit, on the number of live weights: a class and a line in the registry are all that a search needs."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from instant import make_evaluator
from torch import nn

from l0compile.errors import ConfigError, InfeasibleError
from l0compile.gates import dense_weight
from l0compile.studies.constraints import registry
from l0compile.studies.constraints.constraint import Chosen, number
from l0compile.studies.constraints.device_budget import DeviceBudget
from l0compile.studies.pruning.bounds import Bound
from l0compile.studies.pruning.masks import live_weights
from l0compile.studies.result import Requirement
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.read import parse_space
from l0compile.studies.space.space import Space
from l0compile.studies.space.space_json import space_from_json, space_to_json

TINY = Path(__file__).parents[1] / "tiny.toml"


@dataclass(frozen=True)
class WeightLimit:
    """At most ``most`` thousand weights of gated layers are live."""

    most: float
    kind = "weights"

    @classmethod
    def parse(cls, value: object, where: str) -> Self:
        return cls(number(value, 0.1, 1e6, where))

    def plan(self, dense: nn.Module, layers: tuple[str, ...]) -> Bound:
        counts = {name: dense_weight(dense.get_submodule(name)).numel() / 1000 for name in layers}
        if self.most < 0.1 * sum(counts.values()):
            raise InfeasibleError("search: limits.weights_k: no model of the space has so few weights")
        return Bound(
            "limits.weights_k",
            self.most,
            lambda allocation: sum(counts[name] * allocation.layers[name].density for name in layers),
        )

    def measure(self, chosen: Chosen) -> float:
        return live_weights(chosen.model)[0] / 1000

    def verdict(self, found: float, chosen: Chosen) -> Requirement:
        return Requirement(
            f"at most {self.most:g} thousand weights", f"{found:.2f}", found <= self.most, self.kind
        )


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LIMITS", {**registry.LIMITS, "weights_k": WeightLimit})


def space(most: object) -> Space:
    return parse_space({**tomllib.loads(TINY.read_text()), "limits": {"weights_k": most}}, file="tiny.toml")


def test_a_space_knows_the_key_and_checks_its_value() -> None:
    found = space(3)
    assert found.constraints == (found.latency, WeightLimit(3.0))
    assert found.fingerprint() != space(4).fingerprint()
    assert space_from_json(space_to_json(found)) == found
    with pytest.raises(ConfigError, match=r"tiny\.toml: limits\.weights_k: expected a number from 0\.1 to"):
        space("few")


@pytest.mark.parametrize("most", [2.5, 4.0])
def test_allocations_keep_it_and_the_verdict_says_so(tmp_path: Path, most: float) -> None:
    evaluator = make_evaluator(space(most), tmp_path)
    free = evaluator.menu.allocate(0.9 * evaluator.menu.dense_ms)
    found = evaluator.allocate(Choices(), 0.9 * evaluator.menu.dense_ms)
    (bound,) = evaluator.bounds
    assert bound.amount(found) <= most < bound.amount(free) and found.ms < free.ms
    model = evaluator.realised(found)
    for limit, met in ((WeightLimit(most), True), (WeightLimit(0.5 * most), False)):
        chosen = Chosen(model, tmp_path, 0.9, 1.0, {}, DeviceBudget(1.0))
        verdict = limit.verdict(limit.measure(chosen), chosen)
        assert verdict.met is met and verdict.kind == "weights"


def test_what_no_model_keeps_is_told_before_anything_is_pruned(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="no model of the space has so few weights"):
        make_evaluator(space(0.2), tmp_path).allocate(Choices(), 1.0)
