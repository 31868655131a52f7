"""What a paper run does: which tasks, which active fractions, how many seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from l0compile.errors import ConfigError
from l0compile.tasks import Classification, make_task, task_options

FRACTIONS = (1.0, 0.75, 0.5, 0.25, 0.1, 0.05)
SEEDS = 5


@dataclass(frozen=True)
class Series:
    """One table of the paper.

    name: for file names and the command line. title: for people. task, options: see ``make_task``. note: what it
    stands in for, and what could not be compared. quick: other options for a quick run.
    """

    name: str
    title: str
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    quick: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Classification:
        """Make the task and load its data.

        Raises:
            DataError: the data is missing.
            ConfigError: the task is none with labels.
        """
        task = make_task(self.task, task_options(self.task, self.options, f"paper: {self.name}"))
        if not isinstance(task, Classification):
            raise ConfigError(f"paper: {self.task}: expected a task with labels, got {type(task).__name__}")
        return task


_TREES = "Gradient-boosted trees reach 0.873 accuracy on this split: no network here comes near."

_FEW_REVIEWS = {
    "tokens": 32, "train_tokens": 32, "steps": 16, "train_reviews": 512, "validation_reviews": 256,
    "held_out_reviews": 512, "calibration_reviews": 32, "head_reviews": 512,
}  # fmt: skip
_CORA = "The standard split has 140 labelled nodes, so accuracies of seeds differ by half a point."

SERIES = (
    Series("adult", "Adult, FT-Transformer", "adult", {}, _TREES),
    Series("adult-mlp", "Adult, perceptron on learned embeddings", "adult", {"model": "mlp"}, _TREES),
    Series(
        "imdb", "IMDB, pooled embeddings of MiniLM", "imdb-embeddings", {},
        "MiniLM is fine-tuned once, and its pooled vectors are computed once: seeds are those of gates and head alone.",
        _FEW_REVIEWS,
    ),
    Series("cora", "Cora, GCN", "cora", {"model": "gcn"}, _CORA),
    Series("cora-sage", "Cora, GraphSAGE", "cora", {"model": "sage"}, _CORA),
    Series(
        "reviews", "Reviews of clothes: text, table and rating in one transformer", "reviews", {},
        "The rating nearly gives the label away.",
    ),
    Series(
        "reviews-text", "Reviews of clothes: text and table", "reviews", {"modalities": ["text", "table"]},
    ),
    Series("digits", "Digits as patches", "digits", {}, "Images of 8 x 8 pixels: the smallest there are."),
)  # fmt: skip
"""Every series, in the order of the page."""


@dataclass(frozen=True)
class PaperPlan:
    """What is swept: every series x every seed x every active fraction, and each dense model."""

    series: tuple[Series, ...]
    seeds: int = SEEDS
    fractions: tuple[float, ...] = FRACTIONS
    shorten: float = 1.0

    @property
    def cells(self) -> int:
        """How many models are trained; the dense ones count too."""
        return len(self.series) * self.seeds * (1 + len(self.fractions))


def make_plan(
    names: Sequence[str] = (),
    *,
    seeds: int | None = None,
    fractions: Sequence[float] = (),
    quick: bool = False,
) -> PaperPlan:
    """Choose what to sweep.

    Args:
        names: of series; default: all of them.
        seeds: how many; default: 5, and 2 for a quick run.
        fractions: active ones, each in (0, 1]; default: 1 to 0.05, and 3 of them for a quick run.
        quick: train a tenth as long: this checks the set-up, and says little about quality.

    Raises:
        ConfigError: a name is unknown or a number out of range.
    """
    known = {series.name: series for series in SERIES}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"paper: --task: expected some of {', '.join(known)}, got {', '.join(unknown)}")
    count = (2 if quick else SEEDS) if seeds is None else seeds
    shares = tuple(fractions) or ((1.0, 0.25, 0.05) if quick else FRACTIONS)
    if count < 1:
        raise ConfigError(f"paper: --seeds: expected at least 1, got {count}")
    if wrong := [share for share in shares if not 0.0 < share <= 1.0]:
        raise ConfigError(f"paper: --fractions: expected numbers above 0 and at most 1, got {wrong}")
    chosen = tuple(known[name] for name in (dict.fromkeys(names) or known))
    if quick:
        chosen = tuple(replace(series, options={**series.options, **series.quick}) for series in chosen)
    return PaperPlan(chosen, count, tuple(sorted(set(shares), reverse=True)), 0.1 if quick else 1.0)
