"""Gates in ``transformers.Trainer``."""

import importlib
from typing import Any

from torch import nn

from l0compile.errors import MissingDependency
from l0compile.trainers.gate_steps import GateSteps, MakeBudget


def hugging_face_gates(
    model: nn.Module, make_budget: MakeBudget, *, rate: float = 0.1, harden: bool = True
) -> Any:
    """Make a callback for ``transformers.Trainer(model, ..., callbacks=[...])`` that trains the gates of ``model``.

    Make it before ``Trainer.train()`` makes the optimiser. ``max_grad_norm`` clips only the gradients of weights.

    Args:
        model: The model that the trainer trains; it has gates.
        make_budget: Called once the number of steps is known, see :class:`GateSteps`.
        rate: Learning rate of the gates.
        harden: Make the gates constants at the end, within the budget.

    Returns:
        The callback. Its attribute ``steps`` is a :class:`GateSteps`; ``steps.budget`` is the budget.

    Raises:
        MissingDependency: transformers is not installed.
        GateError: The model has no gates.
    """
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingDependency(
            "a callback for Trainer needs transformers: pip install transformers accelerate"
        ) from error
    steps = GateSteps(make_budget, rate, harden)
    steps.hide(model)

    class Callback(transformers.TrainerCallback):  # type: ignore[name-defined]
        """Call ``steps`` from the events of the trainer."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            steps.begin(model, state.max_steps)

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            scaler = getattr(given.get("optimizer"), "scaler", None)  # with fp16, in accelerate's optimiser
            steps.before_step(1.0 if scaler is None else scaler.get_scale())

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            steps.end(model)

    callback = Callback()
    callback.steps = steps
    return callback
