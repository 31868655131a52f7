"""A training with gates that is interrupted and resumed gives the same gates and weights, bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.trainers import GateSteps, hugging_face_gates, lightning_gates
from tests.trainers.test_gate_steps import Rows, WithLoss, gated, make_budget, rows

STEPS, STOP = 12, 5


def test_in_a_plain_loop() -> None:
    x, wanted = rows(64)

    def trained(stop: int | None) -> dict[str, Tensor]:
        torch.manual_seed(0)
        model, steps = gated().train(), GateSteps(make_budget)
        steps.begin(model, STEPS)
        for step in range(STEPS):
            if step == stop:
                kept, weights = steps.state_dict(), model.state_dict()
                torch.manual_seed(7)
                model, steps = gated().train(), GateSteps(make_budget)
                model.load_state_dict(weights)
                steps.begin(model, STEPS)
                steps.load_state_dict(kept)
            (model(x) - wanted).square().mean().backward()
            steps.before_step()
        return model.state_dict()

    whole, resumed = trained(None), trained(STOP)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_the_state_of_other_gates_is_refused() -> None:
    steps = GateSteps(make_budget)
    with pytest.raises(GateError, match="begin before this one"):
        steps.state_dict()
    model = gated().train()
    steps.begin(model, STEPS)
    model(rows(8)[0]).sum().backward()
    steps.before_step()
    state = steps.state_dict()
    with pytest.raises(GateError, match="expected the state of 1 gate modules"):
        steps.load_state_dict(state | {"exp_avg.0": torch.zeros(3)})
    with pytest.raises(GateError, match="3 numbers under 'budget'"):
        steps.load_state_dict({name: value for name, value in state.items() if name != "budget"})


class Stop(Exception):
    """Stands for Ctrl-C."""


def test_in_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate, which is not installed")
    logged: list[dict[str, float]] = []

    class Watch(transformers.TrainerCallback):  # type: ignore[name-defined]
        stop = 0

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if state.global_step == self.stop:
                raise Stop

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **given: Any) -> None:
            logged.append(dict(logs))

    def trained(folder: Path, stop: int, resume: bool = False) -> dict[str, Tensor]:
        torch.manual_seed(len(folder.name) + resume)
        model, watch = WithLoss(gated()), Watch()
        watch.stop = stop
        gates = hugging_face_gates(model, make_budget)
        arguments = transformers.TrainingArguments(
            output_dir=str(folder), max_steps=STEPS, per_device_train_batch_size=64, learning_rate=0.02,
            logging_steps=1, lr_scheduler_type="constant", report_to=[], save_steps=STOP - 1, disable_tqdm=True,
            use_cpu=True, seed=3,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, arguments, train_dataset=Rows(*rows(256)), callbacks=[gates, watch]
        )
        try:
            trainer.train(resume_from_checkpoint=resume)
        except Stop:
            assert stop
        return model.inner.state_dict()

    # The noise of gates starts from the global seed, which the trainer sets from its own.
    whole = trained(tmp_path / "whole", 0)
    trained(tmp_path / "parts", STOP)
    resumed = trained(tmp_path / "parts", 0, resume=True)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert {"gates_active", "gates_allowed", "gates_multiplier"} <= set(logged[0])
    (tmp_path / "parts" / f"checkpoint-{STEPS}" / "gates.safetensors").unlink()
    with pytest.raises(GateError, match="expected the state of the gates"):
        trained(tmp_path / "parts", 0, resume=True)


def test_in_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Module(lightning.LightningModule):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = gated()

        def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
            return (self.inner(batch["x"]) - batch["labels"]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.02)

    def trained(epochs: int, checkpoint: Path | None = None, save: Path | None = None) -> nn.Module:
        torch.manual_seed(3)
        module, gates = (
            Module(),
            lightning_gates(lambda model, _: make_budget(model, STEPS), harden=save is None),
        )
        trainer = lightning.Trainer(
            max_epochs=epochs, callbacks=[gates], logger=False, enable_checkpointing=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(Rows(*rows(256)), batch_size=64)
        trainer.fit(module, loader, ckpt_path=checkpoint)
        if save is not None:
            trainer.save_checkpoint(save)
        return module.inner

    whole = trained(3).state_dict()
    trained(1, save=tmp_path / "part.ckpt")
    resumed = trained(3, checkpoint=tmp_path / "part.ckpt").state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
