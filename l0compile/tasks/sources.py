"""Sources of text: the standard library's prose, a folder of files, or the IMDB reviews.

Each gives documents: a topic, a file or a film, which must not be split between training and held-out text.
"""

import gzip
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from l0compile.errors import DataError

Document = tuple[str, list[str]]
"""The name of a document and its sentences in order."""

# Sentences to read from a folder, unless more are wanted for training.
READ = 40_000
SUFFIXES = (".txt", ".jsonl", ".jsonl.gz")
MIN_WORDS, MAX_WORDS = 5, 80
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z])")
_PARAGRAPH = re.compile(r"\n\s*\n|<br\s*/?>\s*<br\s*/?>")
_MARKUP = re.compile(r"<[a-zA-Z/][^<>]*>|[*`\"“”]|^\s*[-*•]\s+")


def python_topics() -> list[Document]:
    """Return the prose of the standard library's help topics (`pydoc_data.topics`), without code; one document each.

    Raises:
        DataError: this Python has no help topics.
    """
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise DataError(
            "tasks.text: the standard library module pydoc_data.topics is missing from this Python; "
            "pass your own text instead: --text FOLDER with .txt or .jsonl(.gz) files"
        ) from error
    return [(name, sentences(topics[name])) for name in sorted(topics)]


def folder(path: Path, *, group: str | None = None, limit: int = READ) -> list[Document]:
    """Read the documents of every .txt, .jsonl and .jsonl.gz file below a folder, in order of names.

    Args:
        path: the folder. A .txt file is one document, and so is a line of a .jsonl file.
        group: key of .jsonl lines; lines with the same value under it are one document.
        limit: stop after this many sentences.

    Raises:
        DataError: the folder is missing or empty, or a file or line can't be read.
    """
    if not path.is_dir():
        raise DataError(
            f"tasks.text: expected a folder of {', '.join(SUFFIXES)} files, got {str(path)!r}; check the path"
        )
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(SUFFIXES))
    if not files:
        raise DataError(
            f"tasks.text: no {', '.join(SUFFIXES)} file in {str(path)!r}; put text files there, "
            "or leave --text out to use the standard library's own prose"
        )
    documents: dict[str, list[str]] = {}
    count = 0
    for key, text in _texts(files, path, group):
        found = sentences(text)
        documents.setdefault(key, []).extend(found)
        count += len(found)
        if count >= limit:
            break
    return list(documents.items())


def imdb(root: Path, *, limit: int = READ) -> list[Document]:
    """Read the IMDB reviews below ``root / "imdb"`` (``{train,test}-*.jsonl.gz``); each film is a document."""
    return folder(root / "imdb", group="movie", limit=limit)


def sentences(text: str) -> list[str]:
    """Return the sentences of running prose in ``text``, without markup, code, tables and headings."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        joined = re.sub(r"-\n\s*", "-", paragraph)
        plain = " ".join(_MARKUP.sub(" ", joined).split())
        found += [part for part in _SENTENCE_END.split(plain) if _is_prose(part)]
    return found


def _is_prose(sentence: str) -> bool:
    if not MIN_WORDS <= sentence.count(" ") + 1 <= MAX_WORDS or sentence[-1] not in ".!?:)":
        return False
    letters = sum(character.isalpha() or character.isspace() for character in sentence)
    return letters >= 0.85 * len(sentence) and "::=" not in sentence and ">>>" not in sentence


def _texts(files: list[Path], path: Path, group: str | None) -> Iterator[tuple[str, str]]:
    for file in files:
        name = file.relative_to(path).as_posix()
        if file.name.endswith(".txt"):
            yield name, _read(file)
        else:
            yield from _lines(file, name, group)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"tasks.text: can't read {str(file)!r} as UTF-8 text ({error}); convert or remove it"
        ) from error


def _lines(file: Path, name: str, group: str | None) -> Iterator[tuple[str, str]]:
    number = 0
    try:
        with (
            gzip.open(file, "rt", encoding="utf-8")
            if file.name.endswith(".gz")
            else file.open(encoding="utf-8") as lines
        ):
            for number, line in enumerate(lines, 1):
                if line.strip():
                    record = json.loads(line)
                    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
                        raise ValueError('expected a JSON object with a string under "text"')
                    yield str(record[group]) if group in record else f"{name}:{number}", record["text"]
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"tasks.text: {str(file)!r}, line {max(number, 1)}: {error}; "
            'expected JSON lines such as {"text": "..."}; fix or remove the file'
        ) from error
