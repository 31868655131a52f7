"""From a latency to densities: a straight line through what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from l0compile.search.candidate import Choices
from l0compile.search.space import Space

# Before anything is measured: what a model keeps of its dense latency when every gated weight is gone.
FIXED_SHARE = 0.2


@dataclass(frozen=True)
class LatencyModel:
    """``latency = fixed + slope * live``, in any unit; `live`.

    Share of the gated layers' multiplications left, in [0, 1].
    """

    fixed: float
    slope: float

    @classmethod
    def fit(cls, dense: float, points: Sequence[tuple[float, float]]) -> "LatencyModel":
        """Least squares through the dense latency and (live, latency) `points`.

        The prior share of `dense` where they don't decide.
        """
        live, latency = np.array([(1.0, dense), *points]).T
        if len(np.unique(live.round(3))) > 1:
            slope, fixed = np.polyfit(live, latency, 1)
            if slope > 0 and fixed > 0:
                return cls(float(fixed), float(slope))
        return cls(FIXED_SHARE * dense, (1 - FIXED_SHARE) * dense)

    def live_for(self, latency: float) -> float:
        """The live share whose predicted latency that is, in [0.01, 1]."""
        return min(1.0, max(0.01, (latency - self.fixed) / self.slope))


def first_guesses(
    space: Space, shapes: Mapping[str, Sequence[tuple[int, int]]], live: float
) -> list[Choices]:
    """Candidates to start from.

    Whole heads and neurons, blocks at a uniform density of `live`, one for each rank of block shape.
    """
    density = {group.name: group.density[1] for group in space.gates}
    guesses = []
    for rank in range(max((len(options) for options in shapes.values()), default=1)):
        shape = {name: options[min(rank, len(options) - 1)] for name, options in shapes.items()}
        # Scaling keeps each group inside its range.
        blocks = {group.name: 1.0 for group in space.gates if group.kind == "block"}
        guesses.append(Choices(density | blocks, shape).scaled(space, live))
    return guesses


def towards(space: Space, choices: Choices, live_now: float, live_wanted: float) -> Choices:
    """`choices` with the densities of blocks scaled so that about `live_wanted` is left where `live_now` is."""
    return choices.scaled(space, live_wanted / live_now)
