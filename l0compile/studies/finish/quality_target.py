"""As quick as it can be at a quality: budgets tried one after another, each with a training of its own."""

import time
from dataclasses import dataclass
from math import sqrt

from l0compile.errors import ConfigError
from l0compile.pruning.prices import Line
from l0compile.studies.explore import Exploration
from l0compile.studies.finish.finalist import Finalist
from l0compile.studies.finish.winner import Winner, train_winner
from l0compile.studies.fit.fit import AIM, Fitter
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import QualityFloor
from l0compile.studies.study.progress import Progress

# Trainings among which the time of the winner is shared out.
ATTEMPTS = 3
# What training is expected to leave of the quality that pruning costs; the first training then tells.
_LEFT_BY_TRAINING = 0.4
_BISECTIONS = 6
# By how much a budget may be moved where only one side of the floor was seen.
_STEP = (0.6, 0.92)
# Attempts whose budgets are closer than this are one.
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


def first_share(
    fitter: Fitter, floor: QualityFloor, progress: Progress, choices: Choices | None = None
) -> float:
    """The share of the dense latency to begin with: where pruning alone loses what training can win back.

    Plans are evaluated without training, by bisection over what their layers take; the last one is measured. Its
    latency is the budget then, and not what prices say of it: those of a small model may be off by a factor.
    """
    choices = choices or Choices()
    evaluator = fitter.evaluator
    task, dense_ms = evaluator.task, evaluator.menu.dense_ms
    dense = task.quality(evaluator.origin, "validation")
    least = dense - (dense - floor.least(dense)) / _LEFT_BY_TRAINING
    progress.phase("a first budget, from what pruning costs without training")
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        try:
            enough = evaluator.evaluate(choices, middle * dense_ms).quality >= least
        except ConfigError:  # no plan takes so little
            enough = False
        low, high = (low, middle) if enough else (middle, high)
    # Plans are made for a little less than the wanted latency; for a dense one that is a little more than the dense.
    line = Line.through(fitter.points, fitter.points[0][1])
    share = fitter.measure(choices, evaluator.plan(choices, high * dense_ms), line).load / AIM
    progress.note(f"  {min(share, 1.0):.0%} of the dense latency")
    return share


def quickest_above(
    exploration: Exploration, winner: Finalist, floor: QualityFloor, deadline: float
) -> Winner:
    """The quickest trained finalist whose quality on validation data is not below the floor; the best, if none is."""
    evaluator, progress = exploration.evaluator, exploration.progress
    task = evaluator.task
    dense = task.quality(evaluator.origin, "validation")
    attempts: list[Attempt] = []
    finalist = winner
    for left in range(ATTEMPTS, 0, -1):
        progress.phase(f"training at {finalist.wanted:.0%} of the dense latency")
        until = time.monotonic() + (deadline - time.monotonic()) / left
        trained = train_winner(exploration, finalist, until)
        attempts.append(Attempt(trained, task.quality(trained.model, "validation")))
        progress.note(f"  quality {attempts[-1].quality:.4f}, at least {floor.least(dense):.4f} wanted")
        share = next_share(attempts, floor, dense)
        if share is None or left == 1 or time.monotonic() >= deadline:
            break
        following = exploration.fit(winner.trial, share, deadline)
        if following is None:
            break
        finalist = following
    return chosen(attempts, floor, dense, progress).winner


def next_share(attempts: list[Attempt], floor: QualityFloor, dense: float) -> float | None:
    """The budget to try next; None when the one sought is known well enough.

    Between the quickest that is good enough and the slowest that is not; where only one side was seen, further the
    more the last one's loss differs from the allowed one.
    """
    least = floor.least(dense)
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


def chosen(attempts: list[Attempt], floor: QualityFloor, dense: float, progress: Progress) -> Attempt:
    """The quickest attempt above the floor; else the best one, and a warning."""
    good = [attempt for attempt in attempts if attempt.quality >= floor.least(dense)]
    if good:
        return min(good, key=lambda attempt: attempt.share)
    best = max(attempts, key=lambda attempt: attempt.quality)
    progress.note(
        f"  WARNING: no candidate kept a quality of {floor.least(dense):.4f}; going on with the best, of "
        f"{best.quality:.4f}. Allow a larger drop, or more seconds and steps"
    )
    return best
