"""What can be chosen about sentiment of films."""

from dataclasses import dataclass

from l0compile.errors import ConfigError
from l0compile.tasks.embedding import MAX_TOKENS

_SIZES = {"batch": (1, 1024), "tokens": (8, MAX_TOKENS), "train_tokens": (8, MAX_TOKENS)}
_COUNTS = ("train_reviews", "validation_reviews", "held_out_reviews", "calibration_reviews", "head_reviews")


@dataclass(frozen=True)
class ImdbOptions:
    """Options of the task.

    batch, tokens: the size of the input whose latency counts; reviews are cut to ``tokens`` in evaluation.
    train_tokens: training reviews are cut there. steps: of the dense training, 16 reviews each.
    train_reviews, validation_reviews, held_out_reviews: at most so many of each part are used. calibration_reviews:
    prune and solve least squares with at most this many. head_reviews: "imdb-embeddings" trains on the vectors of at
    most so many. distil: train pruned models towards the dense model's outputs and hidden states, instead of labels.
    """

    batch: int = 1
    tokens: int = 128
    train_tokens: int = 128
    steps: int = 640
    train_reviews: int = 25_000
    validation_reviews: int = 25_000
    held_out_reviews: int = 25_000
    calibration_reviews: int = 256
    head_reviews: int = 8192
    distil: bool = False

    def __post_init__(self) -> None:
        limits = {**_SIZES, "steps": (0, 1_000_000), **dict.fromkeys(_COUNTS, (16, 1_000_000))}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name}: expected {least} to {most}, got {value}")
