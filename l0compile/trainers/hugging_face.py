"""Gates in ``transformers.Trainer``."""

import importlib
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l0compile.errors import GateError, MissingDependency
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
            if state.global_step > 0:
                steps.load_state_dict(_load(_file(args, state)))

        def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.is_world_process_zero:
                save_file(steps.state_dict(), _file(args, state))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
            if logs is not None and steps.budget is not None:
                logs.update({f"gates_{name}": value for name, value in steps.facts().items()})

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            scaler = getattr(given.get("optimizer"), "scaler", None)  # with fp16, in accelerate's optimiser
            steps.before_step(1.0 if scaler is None else scaler.get_scale())

        def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            steps.end(model)

    callback = Callback()
    callback.steps = steps
    return callback


def _file(args: Any, state: Any) -> Path:
    """Return where the state of the gates is kept: beside what the trainer keeps of the same step."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / "gates.safetensors"


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise GateError(
            f"gates: {file}: expected the state of the gates, which this callback leaves in every checkpoint, got "
            f"{error}; start the training again, or from another checkpoint"
        ) from error
