"""As fast as possible at a quality: try one budget after another, each with a training of its own."""

import time
from dataclasses import dataclass, replace
from math import sqrt

from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.context import SearchContext, SearchState
from l0compile.studies.explore.finalists import fit_finalist
from l0compile.studies.finish.winner import train_winner
from l0compile.studies.fit.finalist import Finalist, Winner
from l0compile.studies.study.progress import SearchProgress

# The number of trainings that share the time of the winner.
ATTEMPTS = 3
# The factors by which a budget may move while only one side of the target was seen: at least, at most.
_STEP = (0.6, 0.92)
# Attempts whose budgets are closer than this count as one.
_SAME = 1.03


@dataclass(frozen=True)
class Attempt:
    """A trained finalist and its quality on validation data."""

    winner: Winner
    quality: float

    @property
    def share(self) -> float:
        """Its budget over the latency of the dense model."""
        return self.winner.finalist.wanted


def train_for_quality(
    context: SearchContext, state: SearchState, finalist: Finalist, target: QualityTarget, deadline: float
) -> SearchState:
    """Choose as winner the fastest trained finalist that keeps the target on validation data; the best if none does."""
    dense = context.task.quality(context.evaluator.origin, "validation")
    attempts: list[Attempt] = []
    trial, wanted = finalist.trial, finalist.wanted
    for left in range(ATTEMPTS, 0, -1):
        context.progress.phase(f"training at {wanted:.0%} of the dense latency")
        until = time.monotonic() + (deadline - time.monotonic()) / left
        state, trained = train_winner(context, state, finalist, until)
        attempts.append(Attempt(trained, context.task.quality(trained.final, "validation")))
        context.progress.note(
            f"  quality {attempts[-1].quality:.4f}, at least {target.least(dense):.4f} wanted"
        )
        share = next_share(attempts, target, dense)
        if share is None or left == 1 or time.monotonic() >= deadline:
            break
        state, following = fit_finalist(context, state, trial, share, deadline)
        if following is None:
            break
        finalist, wanted = following, following.wanted
    return replace(state, winner=best_attempt(attempts, target, dense, context.progress).winner)


def next_share(attempts: list[Attempt], target: QualityTarget, dense: float) -> float | None:
    """Return the budget to try next; None once the one sought is known well enough.

    Try between the fastest attempt that is good enough and the slowest that is not. While only one side was seen,
    move on by how far the last attempt's loss is from the allowed one.
    """
    least = target.least(dense)
    good = [attempt.share for attempt in attempts if attempt.quality >= least]
    bad = [attempt.share for attempt in attempts if attempt.quality < least]
    if good and bad:
        found = sqrt(min(good) * max(bad))
        return found if min(good) / found > _SAME else None
    last = attempts[-1]
    ratio = sqrt(max(dense - last.quality, 1e-9) / max(dense - least, 1e-9))
    if good:
        return last.share * min(max(ratio, _STEP[0]), _STEP[1])
    return None if last.share >= 1.0 else min(1.0, last.share * min(max(ratio, 1 / _STEP[1]), 1 / _STEP[0]))


def best_attempt(
    attempts: list[Attempt], target: QualityTarget, dense: float, progress: SearchProgress
) -> Attempt:
    """Return the fastest attempt that keeps the target; if none does, warn and return the one of best quality."""
    good = [attempt for attempt in attempts if attempt.quality >= target.least(dense)]
    if good:
        return min(good, key=lambda attempt: attempt.share)
    best = max(attempts, key=lambda attempt: attempt.quality)
    progress.note(
        f"  WARNING: no candidate kept a quality of {target.least(dense):.4f}; going on with the best, of "
        f"{best.quality:.4f}. Allow a larger drop, or more seconds and steps"
    )
    return best
