"""What a training keeps beside parameters and moments: the moving average, the budget's multiplier, the noise."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType

import torch
from torch import Tensor, nn

from l0compile.gates import Budget, named_gates
from l0compile.tasks.checkpoint import Checkpoint, Done


class Noise:
    """A context in which PyTorch's global generator is seeded; afterwards it is as before.

    Gates have a generator of their own: in a team, masks so are the same in all processes, whatever their batches draw.
    """

    def __init__(self, seed: int, model: nn.Module) -> None:
        self._seed, self._gates = seed, list(named_gates(model).values())
        self._of_gates = torch.Generator().manual_seed(seed)

    def __enter__(self) -> "Noise":
        self._outside = torch.get_rng_state()
        torch.manual_seed(self._seed)
        self._give(self._of_gates)
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """Return the states of both generators."""
        return {"noise": torch.get_rng_state(), "noise of gates": self._of_gates.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where ``state_dict`` was called."""
        torch.set_rng_state(state["noise"])
        self._of_gates.set_state(state["noise of gates"])

    def _give(self, generator: torch.Generator | None) -> None:
        for gate in self._gates:
            gate.generator = generator

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.set_rng_state(self._outside)
        self._give(None)


class Progress:
    """The moving average of the parameters, the state of the budget, and the noise to go on with.

    Args:
        named: the trained parameters by name.
        optimiser: of them.
        average: the decay of the moving average; 0 for none. The first steps use a smaller one, (1 + t) / (10 + t).
        budget: of the gates, if any are trained.
        noise: of the training.
    """

    def __init__(
        self, named: dict[str, nn.Parameter], optimiser: torch.optim.Optimizer, average: float, budget: Budget | None,
        noise: Noise,
    ) -> None:  # fmt: skip
        self._named, self._optimiser, self._decay, self._budget = named, optimiser, average, budget
        self._noise = noise
        self._parameters = [parameter.detach() for parameter in named.values()]
        self._averages = [parameter.clone() for parameter in self._parameters] if average else []
        self._steps = 0

    def step(self) -> None:
        """Add the budget's gradients to those of the loss, and take a step."""
        if self._budget is not None:
            self._budget.backward()
        self._optimiser.step()
        self._steps += 1
        if self._budget is not None:
            self._budget.step()
        if self._decay:
            decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
            torch._foreach_lerp_(self._averages, self._parameters, 1.0 - decay)

    def keep(self, checkpoint: Checkpoint | None, seconds: float, *, finished: bool = False) -> None:
        """Write the training, which took ``seconds`` so far, to the checkpoint if there is one."""
        if checkpoint is not None:
            checkpoint.save(
                self._named, self._optimiser, self._steps, seconds, more=self.tensors, finished=finished
            )

    def finish(self, checkpoint: Checkpoint | None, seconds: float) -> None:
        """Put the moving average in the place of the parameters, and write the training a last time."""
        if self._decay:
            torch._foreach_copy_(self._parameters, self._averages)
        self.keep(checkpoint, seconds, finished=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything, to be stored."""
        found = {f"average.{name}": value for name, value in zip(self._named, self._averages, strict=False)}
        found |= self._noise.state_dict()
        if self._budget is not None:
            found |= self._budget.state_dict()
        return found

    def restore(self, kept: Done) -> None:
        """Go on where a stored training was."""
        self._steps = kept.steps
        for name, average in zip(self._named, self._averages, strict=False):
            average.copy_(kept.more[f"average.{name}"])
        self._noise.load_state_dict(kept.more)
        if self._budget is not None:
            self._budget.load_state_dict(kept.more)


class Teller:
    """Says in words how a training is going, every few seconds.

    Args:
        told: hears of it; None for nobody.
        steps: how many the training has.
        budget: of the gates, if any are trained.
        start: when the training began, or would have without interruptions (`time.monotonic` seconds).
        deadline: when it ends at the latest.
        every_s: the least seconds between two lines.
    """

    def __init__(
        self, told: Callable[[str], None] | None, steps: int, budget: Budget | None, start: float,
        deadline: float | None = None, *, every_s: float = 10.0,
    ) -> None:  # fmt: skip
        self._told, self._steps, self._budget, self._every_s = told, steps, budget, every_s
        self._start, self._deadline, self._last = start, deadline, time.monotonic()

    def step(self, done: int, loss: float) -> None:
        """Take note that ``done`` steps are over, and of the last one's loss."""
        now = time.monotonic()
        if self._told is None or (now - self._last < self._every_s and done < self._steps):
            return
        self._last = now
        words = f"step {done} of {self._steps}: loss {loss:.4g}"
        if self._budget is not None:
            words += f", {self._budget.density:.1%} active, {self._budget.target:.1%} allowed"
        left = (now - self._start) / done * (self._steps - done)
        left = left if self._deadline is None else min(left, max(self._deadline - now, 0.0))
        self._told(f"{words}, about {left:.0f} s left")
