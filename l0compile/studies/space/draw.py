"""What a trial draws, and what comes of it."""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from l0compile.errors import DataError
from l0compile.studies.fit.evaluate import Evaluator, Outcome
from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space

if TYPE_CHECKING:
    import optuna

# What a trial draws: factors of losses, up to so many times less and more than what is known of them, and logarithms of
# what the last layer counts over the first. From wider ranges (64 and e^3) half of the trials were wasted.
NEAR, TILT = 2.75, (-1.0, 1.0)
# Where a study keeps what is known: groups -> factors.
KNOWN = "known weights"


def suggested(trial: "optuna.trial.Trial", space: Space) -> Choices:
    """What `trial` draws, around neutral weights and those that its study knows.

    Only ratios of weights matter: groups are weighed against the first.
    """
    names, known = [group.name for group in space.gates], _known(trial.study.user_attrs)
    weight = {}
    for name in names[1:]:
        ends = (1.0, known.get(name, 1.0))
        weight[name] = trial.suggest_float(f"weight.{name}", min(ends) / NEAR, max(ends) * NEAR, log=True)
    tilt = {name: trial.suggest_float(f"tilt.{name}", *TILT) for name in names}
    return Choices.from_params(Choices(weight, tilt).to_params())


def evaluate_trial(
    trial: "optuna.trial.Trial", space: Space, evaluator: Evaluator, price_ms: float
) -> Outcome:
    """Evaluate what `trial` draws, and keep the outcome with it. Raises L0CompileError where there is none."""
    outcome = evaluator.evaluate(suggested(trial, space), price_ms)
    for key, value in outcome.to_attrs().items():
        trial.set_user_attr(key, value)
    return outcome


def _known(attributes: Mapping[str, Any]) -> dict[str, float]:
    found = attributes.get(KNOWN, {})
    try:
        weights = {name: float(value) for name, value in found.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"study: {KNOWN!r}: expected a factor for each group of gates, got {found!r}"
        ) from error
    if not all(0.0 < value < inf for value in weights.values()):
        raise DataError(f"study: {KNOWN!r}: expected positive factors, got {found!r}")
    return weights
