"""Text for self-distillation, split into training, validation and held-out sentences without leakage."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from pathlib import Path

from l0compile.errors import DataError
from l0compile.tasks.data_folder import data_root
from l0compile.tasks.sources import READ, Document, folder, imdb, python_topics

HELD_OUT_SHARE, VALIDATION_SHARE = 0.2, 0.1
MIN_SENTENCES, MIN_DOCUMENTS = 60, 3


@dataclass(frozen=True)
class Corpus:
    """Sentences by use; no sentence and no document is in two of them. source: where the text comes from, in words."""

    source: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    held_out: tuple[str, ...]


def load_corpus(path: Path | None = None, *, train: int = 0) -> Corpus:
    """Load text and split it; the same text and numbers give the same split on every machine.

    Args:
        path: folder of text; default: IMDB below $L0COMPILE_DATA, or Python's help topics.
        train: read at least enough sentences of a folder to train with about this many.

    Raises:
        DataError: the folder is empty or unreadable, or there is too little text to split.
    """
    limit = max(READ, ceil(train / (1 - HELD_OUT_SHARE - VALIDATION_SHARE)))
    if path is not None:
        return split(folder(path, limit=limit), source=f"text in {path}")
    root = data_root()
    if root and (root / "imdb").is_dir():
        return split(imdb(root, limit=limit), source="IMDB reviews")
    return split(python_topics(), source="prose of Python's help topics")


def split(documents: Sequence[Document], *, source: str = "text") -> Corpus:
    """Assign whole documents to three uses: at most 20 % held out, at most 10 % validation, the rest for training.

    Documents that share half of their sentences or more stay together. A sentence in several uses is kept once:
    held-out text comes first, then validation. Each use is ordered by a hash of the sentences.

    Args:
        documents: what to split.
        source: where they come from, in words.

    Raises:
        DataError: there is too little text.
    """
    groups = _groups(documents)
    total = len({sentence for group in groups for sentence in group})
    if total < MIN_SENTENCES or len(groups) < MIN_DOCUMENTS:
        raise DataError(
            f"tasks.text: {source} holds {total} sentences in {len(groups)} separate documents; expected at least "
            f"{MIN_SENTENCES} sentences in {MIN_DOCUMENTS} documents (files, or JSON lines); add text"
        )
    held_out: set[str] = set()
    validation: set[str] = set()
    train: set[str] = set()
    for group in groups:
        if len(held_out | group) <= max(HELD_OUT_SHARE * total, len(group) * (not held_out)):
            held_out |= group
        elif len(validation | group) <= max(VALIDATION_SHARE * total, len(group) * (not validation)):
            validation |= group
        else:
            train |= group
    validation -= held_out
    train -= held_out | validation
    if not (train and validation):
        raise DataError(
            f"tasks.text: {source} can't be split into three parts without overlap; add documents that differ"
        )
    return Corpus(source, _ordered(train), _ordered(validation), _ordered(held_out))


def _ordered(sentences: set[str]) -> tuple[str, ...]:
    return tuple(sorted(sentences, key=_digest))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _groups(documents: Sequence[Document]) -> list[set[str]]:
    """Return the sentence sets of the documents, overlapping ones merged, in order of a hash, the largest last."""
    contents = {name: set(found) for name, found in documents if found}
    owners: dict[str, list[str]] = defaultdict(list)
    for name, found in contents.items():
        for sentence in found:
            owners[sentence].append(name)
    shared: Counter[tuple[str, str]] = Counter()
    for names in owners.values():
        if len(names) <= 8:  # a phrase in more documents is common, no sign of a copy
            shared.update(combinations(names, 2))
    leader = {name: name for name in contents}

    def root(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for (one, other), count in shared.items():
        if 2 * count >= min(len(contents[one]), len(contents[other])):
            leader[root(other)] = root(one)
    merged: dict[str, set[str]] = defaultdict(set)
    for name, found in contents.items():
        merged[root(name)] |= found
    groups = [merged[name] for name in sorted(merged, key=_digest)]
    largest = max(groups, key=len, default=None)
    # The largest group comes last, so that neither small share has to take it.
    return [group for group in groups if group is not largest] + ([largest] if largest else [])
