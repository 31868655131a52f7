"""Gates learn beside a loop that knows nothing of them, under a budget, and are constants in the end."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates import Block, Budget, attach, hardening, named_gates
from l0compile.trainers import GateSteps, hugging_face_gates, lightning_gates

GOAL, STEPS = 0.4, 150
Loop = Callable[..., tuple[nn.Module, GateSteps]]


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
        if separate:
            steps.begin(model, 10)
        for gate in named_gates(model).values():
            gate.generator = torch.Generator().manual_seed(3)
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


def test_clipping_before_the_step_changes_nothing() -> None:
    x, wanted = rows(8)

    def alpha(norm: float | None) -> Tensor:
        model, steps = gated().train(), GateSteps(make_budget)
        torch.manual_seed(3)
        steps.begin(model, 10)
        for _ in range(4):
            (100.0 * (model(x) - wanted)).square().mean().backward()
            if norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), norm)
            steps.before_step()
        return named_gates(model)["0.l0_block"].log_alpha.detach()

    assert torch.equal(alpha(1e-3), alpha(None))


def test_a_scaled_loss_gives_the_same_step_and_an_overflow_none() -> None:
    x, wanted = rows(8)

    def alpha(scale: float) -> Tensor:
        model, steps = gated().train(), GateSteps(make_budget)
        torch.manual_seed(3)
        steps.begin(model, 10)
        for _ in range(2):
            (scale * (model(x) - wanted).square().mean()).backward()
            steps.before_step(scale)
        assert steps.budget is not None and steps.budget.done == 2
        return named_gates(model)["0.l0_block"].log_alpha.detach()

    start = named_gates(gated())["0.l0_block"].log_alpha
    assert not torch.equal(alpha(1.0), start)
    torch.testing.assert_close(alpha(1024.0), alpha(1.0))
    assert torch.equal(alpha(float("inf")), start)


def test_gradients_of_several_passes_add_up_and_the_hooks_go() -> None:
    x, wanted = rows(8)

    def alpha(parts: int) -> tuple[Tensor, nn.Module]:
        model, steps = gated().train(), GateSteps(make_budget, harden=False)
        steps.begin(model, 10)
        for _ in range(parts):
            named_gates(model)["0.l0_block"].generator.manual_seed(3)
            ((model(x) - wanted).square().mean() / parts).backward()
        assert named_gates(model)["0.l0_block"].log_alpha.grad is None
        steps.before_step()
        steps.end(model)
        return named_gates(model)["0.l0_block"].log_alpha.detach(), model

    once, model = alpha(1)
    torch.testing.assert_close(alpha(4)[0], once)
    model(x).sum().backward()
    assert named_gates(model)["0.l0_block"].log_alpha.grad is not None


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


def in_hugging_face(
    folder: Path, steps: int, rate: float, clip: float, harden: bool = True
) -> tuple[nn.Module, GateSteps]:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate", reason="transformers.Trainer needs accelerate, which is not installed")
    model = WithLoss(gated())
    callback = hugging_face_gates(model, make_budget, harden=harden)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=64, learning_rate=rate,
        lr_scheduler_type="constant", report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
        max_grad_norm=clip,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=Rows(*rows(256)), callbacks=[callback])
    trainer.train()
    return model.inner, callback.steps


def in_lightning(
    folder: Path, steps: int, rate: float, clip: float, harden: bool = True
) -> tuple[nn.Module, GateSteps]:
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Module(lightning.LightningModule):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = gated()

        def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
            return (self.inner(batch["x"]) - batch["labels"]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=rate)

    lightning.seed_everything(0)
    module, callback = Module(), lightning_gates(make_budget, harden=harden)
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=str(folder),
        gradient_clip_val=clip or None,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(Rows(*rows(256)), batch_size=64, shuffle=True)
    trainer.fit(module, loader)
    return module.inner, callback.steps


LOOPS = pytest.mark.parametrize("loop", [in_hugging_face, in_lightning])


@LOOPS
def test_in_the_loops_of_others(loop: Loop, tmp_path: Path) -> None:
    check(*loop(tmp_path, STEPS, 0.02, 1.0))


@LOOPS
def test_the_price_of_zeros_does_not_depend_on_clipping(loop: Loop, tmp_path: Path) -> None:
    """Weights that stay as they are get the same gradients in every run; what is clipped must not show in the gates."""

    def alpha(clip: float) -> Tensor:
        model, _ = loop(tmp_path, 6, 0.0, clip, harden=False)
        return named_gates(model)["0.l0_block"].log_alpha.detach()

    assert torch.equal(alpha(1e-4), alpha(0.0))
    assert not torch.equal(alpha(0.0), named_gates(gated())["0.l0_block"].log_alpha)
