"""A small classification task for tests: points around the corners of a cube."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.tasks import Classification, Labelled, Schedule
from l0compile.tasks.classification import Part

WIDTH, FEATURES, CLASSES = 16, 6, 3


class PointsModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(FEATURES, WIDTH)
        self.drop = nn.Dropout(0.1)
        self.representation = nn.ReLU()
        self.classify = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.representation(self.drop(self.up(x))))
        return logits


class Points(Classification):
    name, source, classes, representation = "points", "made up", ("a", "b", "c"), "representation"

    def __init__(self, examples: int = 192) -> None:
        generator = torch.Generator().manual_seed(0)
        corners = torch.randn(CLASSES, FEATURES, generator=generator)
        self._data: dict[Part, tuple[Tensor, Tensor]] = {}
        for part in ("train", "validation", "held_out"):
            labels = torch.randint(CLASSES, (examples,), generator=generator)
            noise = 0.7 * torch.randn(examples, FEATURES, generator=generator)
            self._data[part] = (corners[labels] + noise, labels)  # type: ignore[index]

    def build(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            return PointsModel().eval()

    def recipe(self, seed: int) -> Schedule:
        return Schedule(120, batch=32, weight_rate=1e-2, seed=seed, weight_decay=1e-3, average=0.9)

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        x, labels = self._data["train"]
        for rows in torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).split(size):
            yield Labelled((x[rows],), labels[rows])

    def evaluation(self, part: Part) -> Iterator[Labelled]:
        x, labels = self._data[part]
        yield Labelled((x,), labels)

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(8, FEATURES),)

    def dynamic_shapes(self) -> Any:
        return {"x": {0: "batch"}}

    def workload(self) -> None:
        return None

    def facts(self) -> dict[str, Any]:
        return {"task": self.name}
