"""Race finalists: train them in rounds, and rule out the worse ones early.

What an allocation is worth shows only after training, but most of them can be ruled out early (successive halving:
Jamieson and Talwalkar, AISTATS 2016). To add another rule, write a class and add a line to `EARLY_STOPPING`.
"""

import time
from collections.abc import Mapping
from typing import Protocol

from l0compile.studies.context import SearchContext, SearchState
from l0compile.studies.explore.finalists import FINALISTS_UNTIL, train_finalist


class EarlyStopping(Protocol):
    """A rule that says how many finalists go on after a round of training."""

    def survivors(self, count: int) -> int:
        """Return how many of the best of ``count`` finalists train on; ``count`` itself ends the race."""


class SuccessiveHalving:
    """The better half goes on until two are left."""

    def survivors(self, count: int) -> int:
        """Return half of ``count``, rounded up; all of them once there are two."""
        return count if count <= 2 else (count + 1) // 2


DEFAULT_STOPPING = "halving"
EARLY_STOPPING: Mapping[str, EarlyStopping] = {DEFAULT_STOPPING: SuccessiveHalving()}


def race_finalists(
    context: SearchContext, state: SearchState, rule: EarlyStopping = EARLY_STOPPING[DEFAULT_STOPPING]
) -> SearchState:
    """Train the finalists that keep the budget in rounds, each twice as long as the one before.

    A resumed search repeats no round: the qualities on file say who went on.
    """
    fast = [each for each in state.finalists if each.wanted == state.wanted and each.fast_enough]
    racing = list(
        {each.fitted.structure: each for each in reversed(fast)}.values()
    )  # the first of each structure
    number, slowest = 1, 0.0
    while (count := rule.survivors(len(racing))) < len(racing):
        ranked = sorted(racing, key=lambda each: each.qualities[number - 1], reverse=True)
        begun, number = time.monotonic(), number + 1
        if begun + 2 * slowest * count > context.clock.at(FINALISTS_UNTIL):
            break
        context.progress.note(f"  round {number}: {count} finalists train on")
        for each in ranked[count:]:
            context.brief.forget(each.fitted)
        racing = ranked[:count]
        for place, each in enumerate(racing):
            if len(each.qualities) < number:
                state, racing[place] = train_finalist(context, state, each)
        slowest = (time.monotonic() - begun) / count
    return state
