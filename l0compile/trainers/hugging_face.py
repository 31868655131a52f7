"""Gates in ``transformers.Trainer``."""

import importlib
from typing import Any

from torch import nn

from l0compile.errors import MissingDependency
from l0compile.trainers.gate_steps import GateSteps, MakeBudget


def hugging_face_gates(
    model: nn.Module, make_budget: MakeBudget, *, rate: float = 0.1, harden: bool = True
) -> Any:
    """A callback for ``transformers.Trainer(model, ..., callbacks=[...])`` that trains the gates of ``model``.

    Make it before ``Trainer.train()`` makes the optimiser. Arguments as of :class:`GateSteps`; the callback's ``steps``
    is one, its ``steps.budget`` the budget. ``max_grad_norm`` clips the gradients of weights alone.

    Raises: MissingDependency without transformers. GateError for a model without gates.
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
        """Calls ``steps`` from the events of the trainer."""

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
