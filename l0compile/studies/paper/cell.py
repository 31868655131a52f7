"""One cell of the sweep: a dense model, or the same one at an active fraction, with what became of it."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l0compile.compiler.compile import compile as compile_model
from l0compile.errors import StorageError
from l0compile.ir.codec import decode_json, encode
from l0compile.runtime import CompiledModel
from l0compile.studies.paper.plan import PaperPlan, Series
from l0compile.tasks import Classification, Schedule, representation_gate, train_gated
from l0compile.tasks.trained_models import trained

DENSE = None
"""The fraction of a cell whose model has no gates."""


@dataclass(frozen=True)
class Cell:
    """What was found of one model.

    series, seed, fraction: which one; fraction is None for the dense model. active: the share of open gates. width: of
    the gated vector. steps, seconds: of its training. flips, largest: of the compiled model's predictions on held-out
    data against the model itself, and the largest difference of logits; None where it was not compiled. size: bytes of
    the artifact. accuracy: on held-out data.
    """

    series: str
    seed: int
    fraction: float | None
    active: float
    steps: int
    seconds: float
    accuracy: float
    flips: int | None = None
    largest: float | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        """The name of its files."""
        return cell_name(self.series, self.seed, self.fraction)


def cell_name(series: str, seed: int, fraction: float | None) -> str:
    """Return the name of the files of a cell."""
    return f"{series}-seed{seed}-" + ("dense" if fraction is None else f"{fraction:g}")


def run_cells(
    plan: PaperPlan, series: Series, seed: int, folder: Path, told: Callable[[str], None] = lambda _: None
) -> None:
    """Train the dense model of a seed and its gated copies, and write one file of facts and one of logits for each.

    Cells that are there already are not repeated. Models of the first seed are compiled, and their artifacts kept.

    Args:
        plan: the fractions.
        series: the task.
        seed: of everything random.
        folder: of the cells.
        told: hears of each training.
    """
    left = [
        fraction
        for fraction in (DENSE, *plan.fractions)
        if not (folder / f"{cell_name(series.name, seed, fraction)}.json").exists()
    ]
    if not left:
        return
    task = series.load()
    for fraction in left:
        told(cell_name(series.name, seed, fraction))
        model = task.train_dense(seed) if plan.shorten == 1.0 else _shortened(task, seed, plan)
        cell = Cell(series.name, seed, fraction, 1.0, 0, 0.0, 0.0)
        unfinished = folder / "unfinished" / cell.name
        if fraction is not None:
            done = train_gated(
                task, model, representation_gate(task), fraction, _scaled(task.gate_recipe(seed), plan),
                values=task.gate_values,
                folder=unfinished,
            )  # fmt: skip
            steps, seconds = (
                getattr(done.gates, part) + getattr(done.weights, part) for part in ("steps", "seconds")
            )
            cell = dataclasses.replace(cell, active=done.achieved, steps=steps, seconds=seconds)
        _finish(cell, task, model, folder, compiled=seed == 0)
        if unfinished.exists():
            shutil.rmtree(unfinished)  # with the cell on disk, nothing reads the training any more


def load_cell(folder: Path, name: str) -> Cell:
    """Read the facts of a cell.

    Raises:
        StorageError: the file cannot be read.
    """
    file = folder / f"{name}.json"
    try:
        return decode_json(file.read_text(encoding="utf-8"), Cell, str(file))
    except OSError as error:
        raise _unreadable(file, error) from error


def load_logits(folder: Path, name: str) -> dict[str, Tensor]:
    """Read the logits of a cell: ``"validation"`` and ``"held_out"``, float32 [N, classes].

    Raises:
        StorageError: the file cannot be read.
    """
    file = folder / f"{name}.safetensors"
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{file}: expected a cell of the paper, got {error}; delete the cell's files and run again"
    )


def _finish(cell: Cell, task: Classification, model: nn.Module, folder: Path, compiled: bool) -> None:
    logits = {part: task.logits(model, part) for part in ("validation", "held_out")}
    right = (logits["held_out"].argmax(1) == task.labels("held_out")).double().mean()
    cell = dataclasses.replace(cell, accuracy=float(right))
    if compiled:
        artifact = folder / "artifacts" / cell.name
        made = _compiled(task, model)
        made.save(artifact)
        got = task.logits(made, "held_out")
        cell = dataclasses.replace(
            cell,
            flips=int((got.argmax(1) != logits["held_out"].argmax(1)).sum()),
            largest=float((got - logits["held_out"]).abs().max()),
            size=sum(file.stat().st_size for file in artifact.rglob("*") if file.is_file()),
        )
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{cell.name}.draft"
    save_file(logits, draft)
    draft.replace(folder / f"{cell.name}.safetensors")
    # The facts come last: a cell that has them is complete.
    draft.write_text(json.dumps(encode(cell)) + "\n", encoding="utf-8")
    draft.replace(folder / f"{cell.name}.json")


def _compiled(task: Classification, model: nn.Module) -> CompiledModel:
    return compile_model(model, task.example(), dynamic_shapes=task.dynamic_shapes())


def _scaled(schedule: Schedule, plan: PaperPlan) -> Schedule:
    return dataclasses.replace(schedule, steps=max(8, round(schedule.steps * plan.shorten)))


def _shortened(task: Classification, seed: int, plan: PaperPlan) -> nn.Module:
    return trained(task, task.build(seed), _scaled(task.recipe(seed), plan), task.facts())
