"""Reviews of films with their sentiment, cleaned and split by film."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from l0compile.errors import DataError

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
