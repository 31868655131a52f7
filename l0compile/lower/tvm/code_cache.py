"""Machine code kept on disk: files named by what they were made from, and checked when they are read.

Several processes may share the folder. A file appears whole or not at all, and carries the hash of its content in its
name; one that does not match, because a disk failed or somebody changed it, is removed and made again. What was not
used for longest goes first when the folder grows too large.
"""

import hashlib
import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from l0compile.hardware.cache_folder import cache_folder

_log = logging.getLogger("l0compile")

LIMIT_BYTES = 2**30
_KEPT = 0.75  # share of the limit that is left after a cleaning, so that the next is not due at once
_CLEANED_EVERY = 64  # files written by one process between two looks at the size of the folder


@dataclass
class CodeCache:
    """Files of machine code, by key.

    Attributes:
        folder: Where they are; made when the first is written.
        limit: Most bytes of all files.
    """

    folder: Path
    limit: int = LIMIT_BYTES
    _written: int = 0

    def get(self, key: str) -> bytes | None:
        """Return what is kept for ``key``, a hexadecimal hash; None if nothing is, or it was damaged."""
        for path in self._place(key).glob(f"{key}-*"):
            try:
                content = path.read_bytes()
                if path.name == _name(key, content):
                    os.utime(path)  # used now
                    return content
                _log.warning("%s: is damaged, so that code is made again", path)
                path.unlink(missing_ok=True)
            except FileNotFoundError:
                continue  # another process has just removed it
            except OSError as error:
                _log.warning("%s: cannot be read, so that code is made again: %s", path, error)
        return None

    def put(self, key: str, content: bytes) -> None:
        """Keep ``content`` for ``key``; warn where that fails, as on a full disk, because the code itself is good."""
        try:
            self._write(key, content)
        except OSError as error:
            _log.warning("%s: machine code is not kept: %s", self.folder, error)

    def _write(self, key: str, content: bytes) -> None:
        place = self._place(key)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=place, prefix=".", delete=False) as file:
            file.write(content)
        os.replace(file.name, place / _name(key, content))
        if self._written % _CLEANED_EVERY == 0:
            self.clean()
        self._written += 1

    def clean(self) -> None:
        """Remove the files that were not used for longest, if all together are larger than the limit."""
        found = []
        for path in self.folder.glob("??/*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return
        for _, size, path in sorted(found):
            if total <= _KEPT * self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size

    def _place(self, key: str) -> Path:
        return self.folder / key[:2]


def _name(key: str, content: bytes) -> str:
    return f"{key}-{hashlib.sha256(content).hexdigest()}"


def user_cache() -> CodeCache | None:
    """Return the cache of this user; None if it is switched off, or others could have put code there."""
    folder = cache_folder()
    if folder is None:
        return None
    folder = folder / "code"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError as error:
        _log.warning("no machine code is kept: %s", error)
        return None
    owners = hasattr(os, "getuid")  # not on Windows
    if owners and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        _log.warning(
            "%s: no machine code is kept or read here, because others may write to it; run: chmod 700 %s",
            folder,
            folder,
        )
        return None
    return CodeCache(folder)
