"""Gates learn beside a loop that knows nothing of them, under a budget, and are constants in the end."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates import Block, Budget, attach, hardening, named_gates
from l0compile.trainers import GateSteps, hugging_face_gates, lightning_gates

GOAL, STEPS = 0.4, 150


def make_budget(model: nn.Module, steps: int) -> Budget:
    return Budget(model, GOAL, steps)


def gated() -> nn.Module:
    torch.manual_seed(0)
    return attach(nn.Sequential(nn.Linear(16, 16)), {"0": Block(4, 1)})


def rows(count: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(count, 16, generator=torch.Generator().manual_seed(1))
    return x, x * (torch.arange(16) < 5)


def check(model: nn.Module, steps: GateSteps) -> None:
    """The budget is kept, and the inputs that matter are."""
    record = hardening(model)
    assert record is not None and record.density <= GOAL + 1e-6
    assert steps.budget is not None and steps.budget.done == STEPS
    x, wanted = rows(64)
    with torch.no_grad():
        assert float((model.eval()(x) - wanted).square().mean()) < 0.2 * float(wanted.square().mean())


def test_in_a_plain_loop() -> None:
    model, steps = gated(), GateSteps(make_budget)
    steps.hide(model)
    weights = [p for p in model.parameters() if p.requires_grad]
    assert len(weights) == 2
    optimiser = torch.optim.Adam(weights, lr=0.02)
    steps.begin(model.train(), STEPS)
    x, wanted = rows(256)
    for _ in range(STEPS):
        optimiser.zero_grad()
        (model(x) - wanted).square().mean().backward()
        steps.before_step()
        optimiser.step()
    steps.end(model)
    check(model, steps)


def test_gradients_of_loss_and_penalty_are_those_of_their_sum() -> None:
    x, wanted = rows(8)

    def alpha(separate: bool) -> Tensor:
        model = gated().train()
        torch.manual_seed(3)
        budget = Budget(model, GOAL, 10, warmup=0.0)
        budget.multiplier = 2.0
        steps = GateSteps(lambda *_: budget)
        steps.begin(model, 10)
        loss = (model(x) - wanted).square().mean()
        if separate:
            loss.backward()
            steps.before_step()
        else:
            optimiser = torch.optim.Adam([budget.param_group(0.1)])
            (loss + budget.penalty()).backward()
            optimiser.step()
        return named_gates(model)["0.l0_block"].log_alpha.detach()

    torch.testing.assert_close(alpha(True), alpha(False))


def test_a_model_without_gates_and_a_step_too_early() -> None:
    with pytest.raises(GateError, match=r"the model has none; call l0compile\.attach first"):
        GateSteps(make_budget).hide(nn.Linear(2, 2))
    with pytest.raises(GateError, match="before_step was called before begin"):
        GateSteps(make_budget).before_step()


@dataclasses.dataclass
class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return {"x": self.x[place], "labels": self.y[place]}


class WithLoss(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        y = self.inner(x)
        return {"loss": (y - labels).square().mean(), "logits": y}


def test_in_the_trainer_of_hugging_face(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate, which is not installed")
    model = WithLoss(gated())
    callback = hugging_face_gates(model, make_budget)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=STEPS, per_device_train_batch_size=64, learning_rate=0.02,
        lr_scheduler_type="constant", report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=Rows(*rows(256)), callbacks=[callback])
    trainer.train()
    check(model.inner, callback.steps)


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

    module, callback = Module(), lightning_gates(make_budget)
    trainer = lightning.Trainer(
        max_steps=STEPS, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=str(tmp_path),
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(Rows(*rows(256)), batch_size=64, shuffle=True)
    trainer.fit(module, loader)
    check(module.inner, callback.steps)
