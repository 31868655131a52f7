"""Choose the best finalist and train it."""

from dataclasses import replace

from l0compile.errors import BuildError
from l0compile.studies.context import SearchContext, SearchState
from l0compile.studies.explore.finalists import best_finalist
from l0compile.studies.finish.quality_target import train_for_quality
from l0compile.studies.finish.winner import train_winner
from l0compile.studies.fit.fit import HIGHEST


def train_chosen(context: SearchContext, state: SearchState) -> SearchState:
    """Choose the best finalist, and train it for the rest of the time.

    Raises:
        BuildError: there is no finalist.
    """
    space, wanted_ms = context.space, state.wanted * context.budget.ms
    best = best_finalist(space, state)
    if best is None:
        errors = [each.error for each in state.failures] + [trial.error for trial in context.study.trials()]
        raise BuildError(f"{space.name}: no candidate could be built and measured: {errors[0]}")
    if best.fitted.load > HIGHEST * state.wanted:
        context.progress.note(
            f"  WARNING: no candidate met the budget of {wanted_ms:.3f} ms; going on with the fastest one. Widen the "
            "density ranges of the space, or raise the budget"
        )
    deadline = context.clock.winner_deadline()
    if space.quality is not None:
        return train_for_quality(context, state, best, space.quality, deadline)
    context.progress.phase("training the chosen candidate")
    state, winner = train_winner(context, state, best, deadline)
    return replace(state, winner=winner)
