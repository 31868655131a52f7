"""Reviews of films with their sentiment: reading, cleaning, and a split by film."""

import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile.errors import DataError
from l0compile.tasks.data_folder import data_files

SHARDS = 5
DOWNLOAD = (
    "https://ai.stanford.edu/~amaas/data/sentiment/ (Large Movie Review Dataset), each review as a JSON line "
    '{"label": 0 or 1, "movie": "tt0111161", "text": "..."} of a gzip file'
)
VALIDATION_SHARE = 0.1

_BREAK = re.compile(r"<\s*br\s*/?\s*>", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Review:
    """A review. text: cleaned. label: 0 negative, 1 positive. movie: the film's identifier."""

    text: str
    label: int
    movie: str


@dataclass(frozen=True)
class Reviews:
    """Reviews by use; no film of ``validation`` is in ``train``."""

    train: tuple[Review, ...]
    validation: tuple[Review, ...]
    held_out: tuple[Review, ...]

    def digest(self) -> str:
        """Return a hash of the training reviews and their labels."""
        found = hashlib.sha256()
        for review in self.train:
            found.update(f"{review.label}{review.text}\n".encode())
        return found.hexdigest()[:16]


def load_reviews(folder: Path | None = None) -> Reviews:
    """Read the Large Movie Review Dataset (Maas et al., ACL 2011) and split its training reviews by film.

    Args:
        folder: of ``train-00.jsonl.gz`` to ``test-04.jsonl.gz``; default: ``imdb`` below ``$L0COMPILE_DATA``.

    Raises:
        DataError: a file is missing, or is no gzip file of JSON lines with label, movie and text.
    """
    parts = [f"{part}-{shard:02d}.jsonl.gz" for part in ("train", "test") for shard in range(SHARDS)]
    files = data_files("imdb", "imdb", parts, DOWNLOAD, folder)
    given, held_out = (
        tuple(review for file in some for review in _read(file)) for some in (files[:SHARDS], files[SHARDS:])
    )
    if not held_out:
        raise DataError(f"tasks.imdb: {files[SHARDS].parent} holds no test review; download the files again")
    train, validation = split_by_movie(given, VALIDATION_SHARE)
    return Reviews(train, validation, held_out)


def clean(text: str) -> str:
    """Return the text with a space for each line break (``<br />``) and each run of white space."""
    return _SPACE.sub(" ", _BREAK.sub(" ", text)).strip()


def split_by_movie(reviews: Sequence[Review], share: float) -> tuple[tuple[Review, ...], tuple[Review, ...]]:
    """Split off about ``share`` of the reviews, film by film in the order of a hash, so that no film is on both sides.

    Args:
        reviews: in any order, which both sides keep.
        share: of the second side, in (0, 1); it has one film at least.

    Returns:
        The rest, and the share.

    Raises:
        DataError: there are fewer than two films.
    """
    sizes = Counter(review.movie for review in reviews)
    if len(sizes) < 2:
        raise DataError(
            f"tasks.imdb: expected training reviews of two films at least, got {len(sizes)}; download the files again"
        )
    chosen: set[str] = set()
    taken = 0
    for movie in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest())[:-1]:
        if taken >= share * len(reviews):
            break
        chosen.add(movie)
        taken += sizes[movie]
    rest = tuple(review for review in reviews if review.movie not in chosen)
    return rest, tuple(review for review in reviews if review.movie in chosen)


def _read(file: Path) -> list[Review]:
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return [_review(line, f"{file}:{number}") for number, line in enumerate(lines, 1)]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"tasks.imdb: {file} can't be read as a gzip file of text ({error}); download it again"
        ) from error


def _review(line: str, where: str) -> Review:
    try:
        found: Any = json.loads(line)
        text, label, movie = (found[key] for key in ("text", "label", "movie"))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"tasks.imdb: {where}: expected a JSON object with text, label and movie, got {line[:80]!r}; download the "
            "file again"
        ) from error
    if not (isinstance(text, str) and text.strip() and isinstance(movie, str) and label in (0, 1)):
        raise DataError(
            f"tasks.imdb: {where}: expected text, label 0 or 1 and the name of a movie, got text {str(text)[:40]!r}, "
            f"label {label!r}, movie {movie!r}; correct the line"
        )
    return Review(clean(text), int(label), movie)
