"""The first budget of a search: given by the space, or found from what pruning costs under a quality target."""

from dataclasses import replace

from l0compile.errors import InfeasibleError
from l0compile.studies.constraints.quality import QualityTarget
from l0compile.studies.context import SearchContext, SearchState, remember
from l0compile.studies.fit.fit import AIM, Fitter
from l0compile.studies.pruning.prices import LatencyLine
from l0compile.studies.space.candidate import Choices
from l0compile.studies.study.progress import SearchProgress

# Training is expected to leave this share of the quality that pruning costs; the first training then tells.
_LEFT_BY_TRAINING = 0.4
_BISECTIONS = 6


def choose_share(context: SearchContext, state: SearchState) -> SearchState:
    """Under a quality target, choose the share of the dense latency to begin with, once for a study."""
    target = context.space.quality
    if target is not None:
        share = state.kept.share or first_share(
            context.fitter, target, context.progress, context.study.neutral()
        )
        state = remember(context, state, replace(state.kept, share=share))
    context.progress.note(f"  latency budget: {state.wanted * context.budget.ms:.3f} ms")
    return state


def first_share(
    fitter: Fitter, target: QualityTarget, progress: SearchProgress, choices: Choices | None = None
) -> float:
    """Return the share of the dense latency at which pruning alone loses what training can win back.

    Bisect over the price of allocations, evaluated without training, then measure the last one: its latency is the
    budget, not its price, because prices of a small model may be off by a factor.
    """
    choices = choices or Choices()
    evaluator = fitter.evaluator
    task, dense_ms = evaluator.task, evaluator.menu.dense_ms
    dense = task.quality(evaluator.origin, "validation")
    least = dense - (dense - target.least(dense)) / _LEFT_BY_TRAINING
    progress.phase("a first budget, from what pruning costs without training")
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        try:
            enough = evaluator.evaluate(choices, middle * dense_ms).quality >= least
        except InfeasibleError:
            enough = False
        low, high = (low, middle) if enough else (middle, high)
    # The fitter aims a little below the wanted latency; for a dense allocation that is a little above the dense one.
    line = LatencyLine.through(fitter.points, fitter.points[0][1])
    share = fitter.measure(choices, evaluator.allocate(choices, high * dense_ms), line).load / AIM
    progress.note(f"  {min(share, 1.0):.0%} of the dense latency")
    return share
