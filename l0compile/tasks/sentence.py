"""The task "sentence-embedding": distil all-MiniLM-L6-v2 into a sparser copy, judged by sentence similarities."""

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.tasks.embedding import MAX_TOKENS, Batch, Encoded, SentenceEncoder, encode, load_encoder
from l0compile.tasks.registry import register_task
from l0compile.tasks.spearman import similarity_spearman
from l0compile.tasks.task import Split
from l0compile.tasks.text import load_corpus

# Sentences to judge a model with: every trial on validation text, the chosen model once on held-out text. With 400
# sentences a Spearman correlation of 0.97 is known to about 0.002, with 1,600 to half of that.
EVALUATED: dict[Split, int] = {"validation": 400, "held_out": 1600}
EVALUATION_TOKENS = 128
# Sentences from which the variance of hidden states is estimated.
_SAMPLE = 1024


@dataclass(frozen=True)
class SentenceOptions:
    """Options of the task.

    batch, tokens: the size of the input whose latency counts. train_tokens: training sentences are cut there.
    train_sentences: train with at most this many; the dense model's outputs for a sentence are kept in memory (about
    0.1 MB) once it is used. calibration_sentences: prune and solve least squares with at most this many.
    """

    batch: int = 1
    tokens: int = 128
    train_tokens: int = 48
    train_sentences: int = 2048
    calibration_sentences: int = 768

    def __post_init__(self) -> None:
        for name, least, most in (
            ("batch", 1, 1024),
            ("tokens", 1, MAX_TOKENS),
            ("train_tokens", 8, MAX_TOKENS),
            ("train_sentences", 32, 1_000_000),
            ("calibration_sentences", 16, 1_000_000),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ConfigError(f"{name}: expected {least} to {most}, got {value}")


@register_task("sentence-embedding", SentenceOptions)
class SentenceTask:
    """The `Task` of all-MiniLM-L6-v2. Batches are `embedding.Batch`."""

    quality_name = "Spearman correlation of pairwise similarities with the dense model"

    def __init__(self, options: SentenceOptions, text: Path | None = None) -> None:
        self.options = options
        self._corpus = load_corpus(text, train=max(options.train_sentences, options.calibration_sentences))
        self.source = self._corpus.source
        self._dense = load_encoder()

    def dense(self) -> nn.Module:
        return copy.deepcopy(self._dense)

    def example(self) -> tuple[Tensor, ...]:
        return _example(self.options.batch, self.options.tokens)

    def workload(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}:dense_workload", {"batch": self.options.batch, "tokens": self.options.tokens}

    def dynamic_shapes(self) -> Any:
        sizes = {0: "batch", 1: "tokens"}
        return {"input_ids": sizes, "attention_mask": sizes}

    def calibration(self) -> Iterator[Batch]:
        yield from self._train.equal_length_batches(16, limit=self.options.calibration_sentences)

    def batches(self, size: int, seed: int) -> Iterator[Batch]:
        for batch in self._train.batches(size, generator=torch.Generator().manual_seed(seed)):
            # Not in `loss`, which may run while products are in another precision.
            self._teacher.learn(batch)
            yield batch

    def predict(self, model: nn.Module, batch: Batch) -> Tensor:
        output: Tensor = model(*batch.inputs)
        return output

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Add up 1 - cosine of the embeddings, and the squared errors of the batch's similarities and hidden states.

        Hidden states count in units of the teacher's variance, as the mean over layers of real tokens. They dominate
        the loss: training on embeddings alone fits the training text, and was worse after any number of steps tried.
        """
        if not isinstance(model, SentenceEncoder):
            raise ConfigError(
                f"sentence task: expected a SentenceEncoder to train, got {type(model).__name__}"
            )
        embedding, states = model.states(*batch.inputs)
        wanted, hidden = self._teacher.outputs(batch)
        tokens = torch.cat([state[batch.inputs[1].bool()].unsqueeze(0) for state in states])
        distance = (tokens - hidden).square().mean((1, 2)) / self._teacher.variance
        similarity = (embedding @ embedding.T - wanted @ wanted.T).square().mean()
        return (1 - (embedding * wanted).sum(1)).mean() + 10 * similarity + 10 * distance.mean()

    def quality(self, model: Callable[..., Tensor], part: Split) -> float:
        sentences, reference = self._evaluation(part)
        return similarity_spearman(_embed(model, sentences), reference)

    @functools.cached_property
    def _train(self) -> Encoded:
        wanted = max(self.options.train_sentences, self.options.calibration_sentences)
        return encode(self._corpus.train[:wanted], max_tokens=self.options.train_tokens)

    @functools.cached_property
    def _teacher(self) -> "Teacher":
        return Teacher(self._dense, self._train)

    @functools.cache  # noqa: B019 (a task lives as long as its search)
    def _evaluation(self, part: Split) -> tuple[Encoded, Tensor]:
        sentences = encode(getattr(self._corpus, part)[: EVALUATED[part]], max_tokens=EVALUATION_TOKENS)
        return sentences, _embed(self._dense, sentences)


class Teacher:
    """The outputs of the dense model: computed when a sentence is first used, then kept.

    variance: of the hidden states of each layer [layers], estimated on the first sentences.
    """

    def __init__(self, model: SentenceEncoder, sentences: Encoded) -> None:
        self._model = model
        self._embeddings: dict[int, Tensor] = {}
        # float16 [layers, tokens of the sentence, width]
        self._states: dict[int, Tensor] = {}
        for batch in Encoded(sentences.ids[:_SAMPLE], sentences.pad).batches(32):
            self.learn(batch)
        self.variance = torch.stack([state.float().var((1, 2)) for state in self._states.values()]).mean(0)

    def learn(self, batch: Batch) -> None:
        """Run the dense model on the sentences of the batch that are new."""
        new = [place for place, row in enumerate(batch.rows.tolist()) if row not in self._states]
        if not new:
            return
        ids, mask = (tensor[new] for tensor in batch.inputs)
        with torch.no_grad():
            embedding, hidden = self._model.states(ids, mask)
        stacked = torch.stack(hidden, 1).half()
        for place, row in enumerate(batch.rows[new].tolist()):
            self._embeddings[row] = embedding[place].clone()
            self._states[row] = stacked[place, :, : int(mask[place].sum())].clone()

    def outputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return embeddings [B, width] and hidden states [layers, real tokens of all sentences, width], in float32."""
        self.learn(batch)
        rows = batch.rows.tolist()
        hidden = torch.cat([self._states[row] for row in rows], 1).float()
        return torch.stack([self._embeddings[row] for row in rows]), hidden


def dense_workload(batch: int, tokens: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make the dense encoder and the example whose latency counts, in a process that times engines."""
    return load_encoder(), _example(batch, tokens)


def _example(batch: int, tokens: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20000, (batch, tokens), generator=generator)
    return ids, torch.ones_like(ids)


def _embed(model: Callable[..., Tensor], sentences: Encoded) -> Tensor:
    found: list[Tensor] = [torch.empty(0)] * len(sentences.ids)
    with torch.no_grad():
        for batch in sentences.batches(32):
            for row, embedding in zip(batch.rows.tolist(), model(*batch.inputs), strict=True):
                found[row] = embedding
    return torch.stack(found)
