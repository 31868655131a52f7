"""Write folders whole or not at all, and hash the files in them."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from l0compile.errors import ArtifactError


@contextmanager
def whole_folder(path: Path, marker: str) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place when the block ends, and vanishes if it raises.

    It replaces an existing ``path`` only if that is empty or holds a file named ``marker``: nothing else is ours to
    delete.

    Raises:
        ArtifactError: the file system refuses; a full disk is included.
    """
    check_replaceable(path, marker)
    # Same parent, so that the last step is a rename inside one file system, which is atomic.
    draft = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.draft"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        yield draft
        for file in draft.iterdir():
            _flush(file)
        _flush(draft)
        _swap(draft, path)
        _flush(path.parent)
    except OSError as error:
        raise ArtifactError(
            f"{path}: could not be written: {error.strerror or error}; nothing was left behind"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_replaceable(path: Path, marker: str) -> None:
    """Raise ArtifactError unless ``path`` is free, an empty folder, or an artifact folder."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ArtifactError(
            f"{path}: is a file or a link; expected a new name or an artifact folder to replace"
        )
    if path.is_dir() and any(path.iterdir()) and not (path / marker).is_file():
        raise ArtifactError(
            f"{path}: is a folder with other files in it (no {marker}); give another name or empty it"
        )


def fingerprint(file: Path) -> dict[str, Any]:
    """Return size in bytes and SHA-256 of ``file``."""
    with file.open("rb") as stream:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def check_file(file: Path, expected: dict[str, Any]) -> None:
    """Raise ArtifactError unless ``file`` is there with the size and hash that the manifest gives."""
    try:
        found = fingerprint(file)
    except FileNotFoundError:
        raise ArtifactError(
            f"{file}: missing from the artifact; copy the whole folder, or save the model again"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read: {error.strerror or error}") from error
    if found["bytes"] != expected["bytes"]:
        raise ArtifactError(
            f"{file}: damaged: expected {expected['bytes']} bytes, got {found['bytes']}; copy it again"
        )
    if found["sha256"] != expected["sha256"]:
        raise ArtifactError(f"{file}: damaged: its SHA-256 differs from the manifest's; copy it again")


def _swap(draft: Path, path: Path) -> None:
    if not path.exists():
        draft.rename(path)
        return
    # A folder cannot be renamed over a full one, so the old one steps aside. A kill between these two lines leaves it
    # complete under its other name.
    aside = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.previous"
    path.rename(aside)
    try:
        draft.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _flush(path: Path) -> None:
    # Without this, a power cut after the rename can leave a folder with the right names and empty files.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
