"""The task "adult": FT-Transformer, or a perceptron on learned embeddings, on the census of 1994."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.tasks.adult.census import CATEGORIES, LABELS, NUMBERS, People, load_census
from l0compile.tasks.adult.models import EmbeddingMLP, FTTransformer
from l0compile.tasks.classification import Classification, Labelled, Part
from l0compile.tasks.registry import register_task
from l0compile.tasks.training import Schedule

_EVALUATED_AT_ONCE = 1024


@dataclass(frozen=True)
class AdultOptions:
    """Options of the task.

    model: ``"ft-transformer"`` or ``"mlp"``. batch: the rows of the input whose latency counts. width: of the model; 0
    for its own (96 and 256). epochs: of dense training; 0 for the model's own.
    """

    model: Literal["ft-transformer", "mlp"] = "ft-transformer"
    batch: int = 64
    width: int = 0
    epochs: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (("batch", 1, 65536), ("width", 0, 4096), ("epochs", 0, 10_000)):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name}: expected {least} to {most}, got {value}")
        if self.width % 8:
            raise ConfigError(f"width: expected a multiple of 8, one part for each head, got {self.width}")


@register_task("adult", AdultOptions)
class AdultTask(Classification):
    """The `Task` of UCI Adult. ``text`` is the folder of its files, if they are not below ``$L0COMPILE_DATA``."""

    name = "adult"
    classes = LABELS
    representation = "representation"
    columns = (*NUMBERS, *CATEGORIES)
    column_vectors = "embed.columns"
    source = "UCI Adult (census of 1994, CC BY 4.0)"

    def __init__(self, options: AdultOptions, text: Path | None = None) -> None:
        self.options = options
        self.census = load_census(text)

    def build(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return _model(self.options, self.census.sizes).eval()

    def recipe(self, seed: int) -> Schedule:
        transformer = self.options.model == "ft-transformer"
        batch, epochs = (256, self.options.epochs or 10) if transformer else (256, self.options.epochs or 12)
        rows = len(self.census.parts["train"].labels)
        return Schedule(
            steps=epochs * -(-rows // batch), batch=batch, weight_rate=5e-4 if transformer else 1e-3, warmup=50,
            seed=seed, weight_decay=1e-4, embeddings=True, average=0.995,
        )  # fmt: skip

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        rows = self.census.parts["train"]
        order = torch.randperm(len(rows.labels), generator=torch.Generator().manual_seed(seed))
        for chosen in order.split(size):
            yield _labelled(rows, chosen)

    def evaluation(self, part: Part) -> Iterator[Labelled]:
        rows = self.census.parts[part]
        for chosen in torch.arange(len(rows.labels)).split(_EVALUATED_AT_ONCE):
            yield _labelled(rows, chosen)

    def example(self) -> tuple[Tensor, ...]:
        return _example(self.options.batch, self.census.sizes)

    def dynamic_shapes(self) -> Any:
        return {"numbers": {0: "batch"}, "categories": {0: "batch"}}

    def workload(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}:dense_workload", {
            "options": asdict(self.options),
            "sizes": list(self.census.sizes),
        }

    def facts(self) -> dict[str, Any]:
        shape = {"model": self.options.model, "width": self.options.width}
        return {"task": self.name, **shape, "data": self.census.digest}


def dense_workload(options: dict[str, Any], sizes: list[int]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make a dense model of the same shape and the example, in a process that times engines."""
    chosen = AdultOptions(**options)
    return _model(chosen, tuple(sizes)).eval(), _example(chosen.batch, tuple(sizes))


def _model(options: AdultOptions, sizes: tuple[int, ...]) -> nn.Module:
    if options.model == "mlp":
        return EmbeddingMLP(len(NUMBERS), sizes, len(LABELS), width=options.width or 256)
    return FTTransformer(len(NUMBERS), sizes, len(LABELS), width=options.width or 96)


def _example(batch: int, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(batch, len(NUMBERS), generator=generator)
    categories = [torch.randint(size, (batch,), generator=generator) for size in sizes]
    return numbers, torch.stack(categories, 1)


def _labelled(rows: People, chosen: Tensor) -> Labelled:
    return Labelled((rows.numbers[chosen], rows.categories[chosen]), rows.labels[chosen])
