"""Words and table columns as ids, from the training data alone."""

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING, UNKNOWN = 0, 1
# Numbers of a column are told apart as well as this many groups of equal size tell them.
_GROUPS = 16
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[!?]")

CellValue = str | int | None


@dataclass(frozen=True)
class Words:
    """The words that were frequent in the training text. ids: word -> id from 2 up; 0 is padding, 1 any other word."""

    ids: Mapping[str, int]

    @classmethod
    def of(cls, texts: Iterable[str], size: int) -> "Words":
        """Take the most frequent words, so that there are ``size`` ids; among equals the first in the alphabet."""
        counts = Counter(word for text in texts for word in split_words(text))
        kept = sorted(counts, key=lambda word: (-counts[word], word))[: size - 2]
        return cls({word: place for place, word in enumerate(kept, 2)})

    def encode(self, texts: Sequence[str], length: int) -> Tensor:
        """Return the first ``length`` words of each text, int64 [N, length]; a text without words has one, unknown."""
        found = torch.full((len(texts), length), PADDING)
        for row, text in enumerate(texts):
            ids = [self.ids.get(word, UNKNOWN) for word in split_words(text)[:length]] or [UNKNOWN]
            found[row, : len(ids)] = torch.tensor(ids)
        return found


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case, and its ! and ?."""
    return _WORD.findall(text.casefold())


@dataclass(frozen=True)
class Columns:
    """The columns of a table, each with ids of its own: one for what is missing or new, then its groups or categories.

    edges: of numbers, what separates their groups; None for texts. categories: of texts, their places; empty for
    numbers. first: the id of each column's missing value. size: how many ids there are.
    """

    edges: tuple[tuple[int, ...] | None, ...]
    categories: tuple[Mapping[str, int], ...]
    first: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, rows: Sequence[Sequence[CellValue]]) -> "Columns":
        """Take the categories of texts, and quantiles of numbers."""
        edges: list[tuple[int, ...] | None] = []
        categories: list[Mapping[str, int]] = []
        first, size = [], 0
        for column in zip(*rows, strict=True):
            numbers = sorted(cell for cell in column if isinstance(cell, int))
            texts = sorted({cell for cell in column if isinstance(cell, str)})
            cuts = (
                {numbers[len(numbers) * place // _GROUPS] for place in range(1, _GROUPS)}
                if numbers
                else set()
            )
            edges.append(tuple(sorted(cuts)) if numbers else None)
            categories.append({text: place for place, text in enumerate(texts, 1)})
            first.append(size)
            size += (len(cuts) + 1 if numbers else len(texts)) + 1
        return cls(tuple(edges), tuple(categories), tuple(first), size)

    def encode(self, rows: Sequence[Sequence[CellValue]]) -> Tensor:
        """Return the id of each cell, int64 [N, columns]."""
        return torch.tensor([[self._id(place, cell) for place, cell in enumerate(row)] for row in rows])

    def _id(self, place: int, cell: CellValue) -> int:
        edges = self.edges[place]
        if isinstance(cell, int) and edges is not None:
            return self.first[place] + 1 + bisect_right(edges, cell)
        return self.first[place] + (self.categories[place].get(cell, 0) if isinstance(cell, str) else 0)
