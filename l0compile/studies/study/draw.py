"""Draw the choices of a trial."""

from typing import TYPE_CHECKING

from l0compile.studies.space.candidate import Choices
from l0compile.studies.space.space import Space
from l0compile.studies.study.state import read_state

if TYPE_CHECKING:
    import optuna

# Trials draw factors of losses from this many times less to this many times more than the known ones, and logarithms of
# how much the last layer counts over the first. With wider ranges (64 and e^3) half of the trials were wasted.
NEAR, TILT = 2.75, (-1.0, 1.0)


def draw(trial: "optuna.trial.Trial", space: Space) -> Choices:
    """Draw choices around neutral weights and those that the study knows.

    Only ratios of weights matter, so groups are weighed against the first.

    Raises:
        StorageError: the study's known weights are damaged.
    """
    names, known = space.group_names, read_state(trial.study).known_weights
    weight = {}
    for name in names[1:]:
        ends = (1.0, known.get(name, 1.0))
        weight[name] = trial.suggest_float(f"weight.{name}", min(ends) / NEAR, max(ends) * NEAR, log=True)
    tilt = {name: trial.suggest_float(f"tilt.{name}", *TILT) for name in names}
    return Choices.from_params(Choices(weight, tilt).to_params())
