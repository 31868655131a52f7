"""What the model of a plan takes on disk, and in memory when it is loaded, before anything is compiled."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from l0compile.errors import ConfigError
from l0compile.gates import dense_weight
from l0compile.pruning.plan import Menu, Plan

# Of a compiled model beside its weights: the library and the manifest.
_CODE = 2_000_000
_INDEX_BYTES = 4
_BISECTIONS = 10


@dataclass(frozen=True)
class Sizes:
    """weights: of each layer that a plan prunes, in numbers. rest: bytes of all other tensors of the model."""

    weights: Mapping[str, int]
    rest: int

    @classmethod
    def of(cls, model: nn.Module, names: Iterable[str]) -> "Sizes":
        """Of the linear layers ``names`` of ``model``; tensors that two modules share count once."""
        layers = {name: dense_weight(model.get_submodule(name)) for name in names}
        tensors = [*model.parameters(), *model.buffers()]
        rest = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        rest -= sum(weight.numel() * weight.element_size() for weight in layers.values())
        return cls({name: weight.numel() for name, weight in layers.items()}, rest)

    def check(self, limit: float) -> None:
        """Raise ConfigError where not even a model without any of the layers has at most ``limit`` bytes."""
        if (least := self.rest + _CODE) > limit:
            raise ConfigError(
                f"search: limits.artifact_mb: expected more than {least / 1e6:.1f}, what the code and the layers that "
                f"are not pruned take, got {limit / 1e6:g}; prune more layers, or allow more"
            )

    def bytes_of(self, plan: Plan) -> float:
        """Blocks that are left in float32 with an index each; heads and neurons that go save more than is counted."""
        total = float(self.rest + _CODE)
        for name, count in self.weights.items():
            level = plan.layers[name]
            index = 0.0 if level.block is None else _INDEX_BYTES / (level.block[0] * level.block[1])
            total += level.density * count * (4 + index)
        return total

    def plan(self, menu: Menu, budget_ms: float, weights: Mapping[str, float], limit: float) -> Plan:
        """As ``Menu.plan``, with a model of at most ``limit`` bytes: where that of ``budget_ms`` is larger, the plan of
        the longest time whose model is not.

        Raises: ConfigError if no plan is as quick, or as small.
        """
        found = menu.plan(budget_ms, weights)
        if self.bytes_of(found) <= limit:
            return found
        low, high = menu.least_ms, budget_ms
        found = menu.plan(low, weights)
        if (least := self.bytes_of(found)) > limit:
            raise ConfigError(
                f"search: limits.artifact_mb: expected at least {least / 1e6:.1f}, the size of the smallest model of "
                f"the space, got {limit / 1e6:g}"
            )
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            plan = menu.plan(middle, weights)
            if self.bytes_of(plan) <= limit:
                low, found = middle, plan
            else:
                high = middle
        return found
