"""Gates in Lightning."""

import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

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

        _restored: Mapping[str, Tensor] = {}

        def state_dict(self) -> dict[str, Tensor]:
            return {} if steps.budget is None else steps.state_dict()

        def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
            self._restored = state_dict  # comes before the budget is made

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *given: Any) -> None:
            if trainer.global_step % trainer.log_every_n_steps == 0:
                pl_module.log_dict({f"gates/{name}": value for name, value in steps.facts().items()})

        def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
            if stage == "fit":
                steps.hide(pl_module)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            steps.begin(pl_module, int(trainer.estimated_stepping_batches))
            if self._restored:
                steps.load_state_dict(self._restored)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)  # with precision="16-mixed"
            steps.before_step(1.0 if scaler is None else scaler.get_scale())

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            steps.end(pl_module)

    callback = Callback()
    callback.steps = steps
    return callback
