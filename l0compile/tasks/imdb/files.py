"""Files of the Large Movie Review Dataset: ten gzip files of JSON lines, or its archive unpacked."""

import gzip
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

from l0compile.errors import DataError
from l0compile.tasks.data_folder import data_files, data_root
from l0compile.tasks.imdb.reviews import Review, Reviews, clean, split_by_movie

SHARDS = 5
DOWNLOAD = (
    "https://ai.stanford.edu/~amaas/data/sentiment/ (aclImdb_v1.tar.gz; unpacked, so that train/pos/ lies in that "
    'folder, or as gzip files with a JSON line {"label": 0 or 1, "movie": "tt0111161", "text": "..."} for each review)'
)
VALIDATION_SHARE = 0.1
_PARTS = ("train", "test")
_MOVIE = re.compile(r"tt\d+")


def load_reviews(folder: Path | None = None) -> Reviews:
    """Read the Large Movie Review Dataset (Maas et al., ACL 2011) and split its training reviews by film.

    Args:
        folder: of ``train-00.jsonl.gz`` to ``test-04.jsonl.gz``, or of the archive's ``train`` and ``test``; default:
            ``imdb`` below ``$L0COMPILE_DATA``.

    Raises:
        DataError: a file is missing or malformed; the message says which, and where to download it.
    """
    root = data_root()
    place = folder or (root / "imdb" if root else None)
    if place is not None and (place / "train" / "pos").is_dir():
        given, held_out = (_unpacked(place / part) for part in _PARTS)
    else:
        names = [f"{part}-{shard:02d}.jsonl.gz" for part in _PARTS for shard in range(SHARDS)]
        files = data_files("imdb", "imdb", names, DOWNLOAD, folder)
        place = files[0].parent
        given, held_out = (
            tuple(review for file in some for review in _shard(file))
            for some in (files[:SHARDS], files[SHARDS:])
        )
    if not held_out:
        raise DataError(f"tasks.imdb: {place} holds no test review; download the files again")
    train, validation = split_by_movie(given, VALIDATION_SHARE)
    return Reviews(train, validation, held_out)


def _unpacked(folder: Path) -> tuple[Review, ...]:
    """Read a part of the archive: pos/ID_RATING.txt, and the film of review ID in line ID of urls_pos.txt."""
    found: dict[str, Review] = {}
    for label, name in enumerate(("neg", "pos")):
        urls = folder / f"urls_{name}.txt"
        try:
            movies = _MOVIE.findall(urls.read_text(encoding="utf-8"))
            for file in (folder / name).glob("*.txt"):
                number = int(file.stem.partition("_")[0])
                found[f"{name}{number}"] = Review(
                    clean(file.read_text(encoding="utf-8")), label, movies[number]
                )
        except (OSError, ValueError, IndexError) as error:
            raise DataError(
                f"tasks.imdb: {folder}: expected {urls.name} with a film for each file {name}/ID_RATING.txt "
                f"({type(error).__name__}: {error}); unpack aclImdb_v1.tar.gz again"
            ) from error
    # Mixed, so that the first reviews are of both kinds, and in the same order on every machine.
    return tuple(found[key] for key in sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest()))


def _shard(file: Path) -> list[Review]:
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
