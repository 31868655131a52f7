"""What a training keeps beside parameters and moments: the moving average, the budget's multiplier, the noise."""

from collections.abc import Mapping
from types import TracebackType

import torch
from torch import Tensor, nn

from l0compile.gates import Budget
from l0compile.tasks.checkpoint import Done


class Noise:
    """A context in which PyTorch's global generator is seeded; afterwards it is as before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> "Noise":
        self._outside = torch.get_rng_state()
        torch.manual_seed(self._seed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_rng_state(self._outside)


class Progress:
    """The moving average of the parameters, the state of the budget, and the noise to go on with.

    Args:
        named: the trained parameters by name.
        average: the decay of the moving average; 0 for none. The first steps use a smaller one, (1 + t) / (10 + t).
        budget: of the gates, if any are trained.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], average: float, budget: Budget | None) -> None:
        self._named, self._decay, self._budget = named, average, budget
        self._parameters = [parameter.detach() for parameter in named.values()]
        self._averages = [parameter.clone() for parameter in self._parameters] if average else []
        self._steps = 0

    def step(self) -> None:
        """Take note of a step of the optimiser."""
        self._steps += 1
        if self._budget is not None:
            self._budget.step()
        if self._decay:
            decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
            torch._foreach_lerp_(self._averages, self._parameters, 1.0 - decay)

    def finish(self) -> None:
        """Put the moving average in the place of the parameters."""
        if self._decay:
            torch._foreach_copy_(self._parameters, self._averages)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything, to be stored."""
        found = {f"average.{name}": value for name, value in zip(self._named, self._averages, strict=False)}
        found["noise"] = torch.get_rng_state()
        if self._budget is not None:
            state = [self._budget.multiplier, float(self._budget.done)]
            found["budget"] = torch.tensor(state, dtype=torch.float64)
        return found

    def restore(self, kept: Done) -> None:
        """Go on where a stored training was."""
        self._steps = kept.steps
        for name, average in zip(self._named, self._averages, strict=False):
            average.copy_(kept.more[f"average.{name}"])
        torch.set_rng_state(kept.more["noise"])
        if self._budget is not None:
            multiplier, done = kept.more["budget"].tolist()
            self._budget.multiplier, self._budget.done = multiplier, int(done)
