"""Gates in Lightning."""

import importlib
from typing import Any

from l0compile.errors import MissingDependency
from l0compile.trainers.gate_steps import GateSteps, MakeBudget


def lightning_gates(make_budget: MakeBudget, *, rate: float = 0.1, harden: bool = True) -> Any:
    """Make a callback for ``lightning.Trainer(callbacks=[...])`` that trains the gates of the module being fitted.

    ``gradient_clip_val`` clips only the gradients of weights.

    Args:
        make_budget: Called once the number of steps is known, see :class:`GateSteps`.
        rate: Learning rate of the gates.
        harden: Make the gates constants at the end, within the budget.

    Returns:
        The callback. Its attribute ``steps`` is a :class:`GateSteps`; ``steps.budget`` is the budget.

    Raises:
        MissingDependency: lightning is not installed.
    """
    try:
        lightning = importlib.import_module("lightning.pytorch")
    except ImportError as error:
        raise MissingDependency("a callback for Lightning needs it: pip install lightning") from error
    steps = GateSteps(make_budget, rate, harden)

    class Callback(lightning.Callback):  # type: ignore[name-defined]
        """Call ``steps`` from the events of the trainer."""

        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            if stage == "fit":
                steps.hide(pl_module)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            steps.begin(pl_module, int(trainer.estimated_stepping_batches))

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)  # with precision="16-mixed"
            steps.before_step(1.0 if scaler is None else scaler.get_scale())

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            steps.end(pl_module)

    callback = Callback()
    callback.steps = steps
    return callback
