"""Upper bounds on an allocation beside its time, such as the size of the model on disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from l0compile.errors import InfeasibleError
from l0compile.studies.pruning.allocation import Allocation, Menu

_BISECTIONS = 10


@dataclass(frozen=True)
class Bound:
    """An allocation keeps the bound if ``amount(allocation)`` is at most ``most``.

    The amount must not grow when an allocation becomes faster. key: what error messages call the bound.
    """

    key: str
    most: float
    amount: Callable[[Allocation], float]

    def keeps(self, allocation: Allocation) -> bool:
        """Whether an allocation keeps this bound."""
        return self.amount(allocation) <= self.most


def allocate_within(
    menu: Menu, budget_ms: float, weights: Mapping[str, float], bounds: Sequence[Bound]
) -> Allocation:
    """Allocate as ``Menu.allocate`` does, and keep every bound.

    If the allocation of ``budget_ms`` breaks a bound, bisect for the longest time whose allocation breaks none.

    Args:
        menu: the levels to choose from.
        budget_ms: the most time that the layers may take together, in milliseconds.
        weights: factor of each layer's loss; 1 for layers that are missing.
        bounds: what the allocation must keep beside the time.

    Raises:
        InfeasibleError: no allocation is that fast, or the fastest one breaks a bound.
    """
    found = menu.allocate(budget_ms, weights)
    if all(bound.keeps(found) for bound in bounds):
        return found
    low, high = menu.least_ms, budget_ms
    found = menu.allocate(low, weights)
    for bound in bounds:
        if not bound.keeps(found):
            raise InfeasibleError(
                f"search: {bound.key}: expected at least {bound.amount(found):.4g}, which the smallest model of the "
                f"space takes, got {bound.most:g}"
            )
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        allocation = menu.allocate(middle, weights)
        if all(bound.keeps(allocation) for bound in bounds):
            low, found = middle, allocation
        else:
            high = middle
    return found
