"""The task "digits": scikit-learn's 8 x 8 images of handwritten digits, patches as tokens."""

import dataclasses
import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError, MissingDependency
from l0compile.tasks.classification import Part
from l0compile.tasks.multimodal.examples import Examples, ModalityTask
from l0compile.tasks.multimodal.transformer import PatchTokens
from l0compile.tasks.registry import make_task, register_task, task_options

SIDE = 8
# The shares of images that are held out and for validation.
_HELD_OUT, _VALIDATION = 0.2, 0.1


@dataclass(frozen=True)
class DigitsOptions:
    """Options of the task.

    patch: the edge of a patch in pixels. batch: the examples of the input whose latency counts. width, layers, heads:
    of the transformer. steps, train_batch, weight_rate, dropout: of the dense model's training.
    """

    patch: Literal[2, 4] = 2
    batch: int = 32
    width: int = 64
    layers: int = 2
    heads: int = 4
    steps: int = 400
    train_batch: int = 64
    weight_rate: float = 2e-3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, least, most in (
            ("batch", 1, 256), ("width", 8, 1024), ("layers", 1, 24), ("heads", 1, 64), ("steps", 0, 1_000_000),
            ("train_batch", 2, 1024),
        ):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name}: expected {least} to {most}, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"heads: expected a divisor of the width {self.width}, got {self.heads}")
        if not (0 < self.weight_rate <= 1 and 0 <= self.dropout < 1):
            raise ConfigError(
                f"weight_rate, dropout: expected (0, 1] and [0, 1), got {self.weight_rate}, {self.dropout}"
            )


@register_task("digits", DigitsOptions)
class DigitsTask(ModalityTask):
    """The `Task` of scikit-learn's digits: one modality, ``"image"``."""

    name = "digits"
    source = (
        "Optical Recognition of Handwritten Digits, test set (E. Alpaydin, C. Kaynak, UCI, CC BY 4.0), as scikit-learn "
        "(BSD-3-Clause) ships it"
    )
    classes = tuple(str(digit) for digit in range(10))
    modalities = ("image",)
    options: DigitsOptions

    def __init__(self, options: DigitsOptions, text: Path | None = None) -> None:
        if text is not None:
            raise ConfigError("task: digits brings its own data; leave --text out")
        self.options = options

    def load(self) -> Mapping[Part, Examples]:
        """Read the images, ink in [0, 1], and split them; equal images are in one part.

        Raises:
            MissingDependency: scikit-learn is not installed.
        """
        try:
            found = importlib.import_module("sklearn.datasets").load_digits()
        except ImportError as error:
            raise MissingDependency(
                "tasks.digits: scikit-learn brings the images: pip install scikit-learn"
            ) from error
        images = torch.from_numpy(found.images).float() / 16
        digests = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images]
        places = torch.tensor(
            [int.from_bytes(each[:4], "big") / 2**32 for each in digests], dtype=torch.float64
        )
        examples = Examples((images,), torch.from_numpy(found.target).long())
        held_out = places < _HELD_OUT
        validation = ~held_out & (places < _HELD_OUT + _VALIDATION)
        return {
            "train": examples.rows(~held_out & ~validation),
            "validation": examples.rows(validation),
            "held_out": examples.rows(held_out),
        }

    def token_modules(self) -> dict[str, nn.Module]:
        return {"image": PatchTokens(SIDE, self.options.patch, self.options.width)}

    def facts(self) -> dict[str, Any]:
        return {"task": self.name} | super().facts()

    def workload(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}:dense_workload", {"options": dataclasses.asdict(self.options)}


def dense_workload(options: Mapping[str, Any]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return, in another process, the dense model and the example whose latency counts."""
    task = make_task("digits", task_options("digits", options))
    return task.dense(), task.example()
