"""The task "imdb-embeddings": the head of the sentiment model on vectors that its encoder has computed once.

Gates on the classified vector change nothing before it. Where the encoder stays as it is, a sweep over active fractions
and seeds so takes seconds for each point; the head and its gates then fit the whole model, see `transplanted`.
"""

import copy
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.hardware.cache_folder import folder_for_this_process
from l0compile.tasks.classification import Classification, Labelled, Part
from l0compile.tasks.imdb.model import WIDTH, SentimentHead, SentimentModel
from l0compile.tasks.imdb.options import ImdbOptions
from l0compile.tasks.imdb.task import ImdbTask
from l0compile.tasks.registry import register_task
from l0compile.tasks.training import Schedule

_EVALUATION_BATCH = 1024


@register_task("imdb-embeddings", ImdbOptions)
class ImdbEmbeddings(Classification):
    """Sentiment from pooled vectors, float32 [B, 384], of the dense model of the task "imdb".

    The vectors of each part are computed on first use, with the fine-tuned encoder of seed 0, and kept in the cache of
    trained models.

    Args:
        options: of the task "imdb"; ``batch`` is the size of the example.
        text: as in `ImdbTask`.

    Raises:
        DataError: as in `ImdbTask`.
        MissingDependency: as in `ImdbTask`.
    """

    name = "imdb-embeddings"
    source = f"vectors of MiniLM fine-tuned on: {ImdbTask.source}"
    classes = ImdbTask.classes
    representation = "representation"

    def __init__(self, options: ImdbOptions, text: Path | None = None) -> None:
        self.options = options
        self.texts = ImdbTask(options, text)
        some = min(options.head_reviews, options.train_reviews)
        self._train_texts = self.texts.changed(train_reviews=some)

    def build(self, seed: int) -> SentimentHead:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SentimentHead().eval()

    def recipe(self, seed: int) -> Schedule:
        return Schedule(400, batch=256, weight_rate=2e-3, seed=seed, weight_decay=0.01)

    def gate_recipe(self, seed: int) -> Schedule:
        """Return the schedule of gates and head: as long as that of the head, because a step takes a millisecond."""
        return self.recipe(seed)

    def batches(self, size: int, seed: int) -> Iterator[Labelled]:
        vectors, labels = self._pooled("train")
        generator = torch.Generator().manual_seed(seed)
        for rows in torch.randperm(len(labels), generator=generator).split(size):
            yield Labelled((vectors[rows],), labels[rows])

    def evaluation(self, part: Part) -> Iterator[Labelled]:
        vectors, labels = self._pooled(part)
        for rows in torch.arange(len(labels)).split(_EVALUATION_BATCH):
            yield Labelled((vectors[rows],), labels[rows])

    def example(self) -> tuple[Tensor, ...]:
        return (torch.randn(self.options.batch, WIDTH, generator=torch.Generator().manual_seed(0)),)

    def workload(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}:head_workload", {"batch": self.options.batch}

    def dynamic_shapes(self) -> Any:
        return {"pooled": {0: "batch"}}

    def facts(self) -> dict[str, Any]:
        encoder = {
            **self.texts.facts(),
            "schedule": vars(self.texts.recipe(0)),
            "tokens": self.options.tokens,
        }
        return {"task": self.name, "encoder": encoder, "head_reviews": self.options.head_reviews}

    @functools.cache  # noqa: B019 (a task lives as long as its search)
    def _pooled(self, part: Part) -> tuple[Tensor, Tensor]:
        """Return the vectors [N, 384] and labels [N] of a part, in the order of the texts' evaluation."""
        texts = self._train_texts if part == "train" else self.texts
        labels = texts.labels(part)
        key = json.dumps([self.facts()["encoder"], part, len(labels), torch.__version__], sort_keys=True)
        name = f"imdb-pooled-{part}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"
        file = folder_for_this_process() / name
        if file.exists():
            try:
                return load_file(file)["vectors"], labels
            except (SafetensorError, OSError, KeyError):
                file.unlink()
        model = self.texts.dense()
        assert isinstance(model, SentimentModel)
        with torch.no_grad():
            vectors = torch.cat([model.pooled(*batch.inputs) for batch in texts.evaluation(part)])
        draft = file.with_suffix(f".{part}.draft")
        draft.parent.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": vectors}, draft)
        draft.replace(file)
        return vectors, labels


def transplanted(model: nn.Module, head: nn.Module) -> nn.Module:
    """Return a copy of a sentiment model with this head, gates and hardening included.

    Args:
        model: dense, such as `ImdbTask.dense` returns.
        head: a `SentimentHead`, with gates or without.

    Raises:
        ConfigError: one of the two is another kind of model.
    """
    if not isinstance(model, SentimentModel) or not isinstance(head, SentimentHead):
        raise ConfigError(
            "imdb: expected a SentimentModel and a SentimentHead to put in it, got "
            f"{type(model).__name__} and {type(head).__name__}"
        )
    made = copy.deepcopy(model)
    made.head = copy.deepcopy(head)
    return made.eval()


def head_workload(batch: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make a head that is not trained, and pooled vectors, in a process that times engines."""
    return SentimentHead().eval(), (torch.randn(batch, WIDTH, generator=torch.Generator().manual_seed(0)),)
