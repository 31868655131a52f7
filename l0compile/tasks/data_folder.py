"""The folder that data sets lie in, named by the user and never downloaded to."""

import os
from collections.abc import Sequence
from pathlib import Path

from l0compile.errors import DataError

DATA_VARIABLE = "L0COMPILE_DATA"


def data_root() -> Path | None:
    """Return the folder that ``$L0COMPILE_DATA`` names; None if it is not set.

    Raises:
        DataError: it names no folder.
    """
    named = os.environ.get(DATA_VARIABLE)
    if named and not Path(named).is_dir():
        raise DataError(f"{DATA_VARIABLE} names {named!r}, which is no folder; correct it or unset it")
    return Path(named) if named else None


def data_files(
    task: str, folder: str, files: Sequence[str], download: str, path: Path | None = None
) -> list[Path]:
    """Find the files of a data set.

    Args:
        task: who asks, for messages.
        folder: below ``$L0COMPILE_DATA``.
        files: names of the files that must be there.
        download: where the files are to be had, in words.
        path: the folder of the files itself, instead of ``folder`` below ``$L0COMPILE_DATA``.

    Returns:
        The paths, in the order of ``files``.

    Raises:
        DataError: a file is missing; the message says what to download and where to put it.
    """
    root = data_root()
    place = path or (root / folder if root else None)
    missing = [name for name in files if place is None or not (place / name).is_file()]
    if place is None or missing:
        where = str(place) if place else f"a folder {folder}/ below the one that ${DATA_VARIABLE} names"
        raise DataError(
            f"tasks.{task}: expected {', '.join(missing)} in {where}; download them from {download}"
            + ("" if place else f", put them there, and set {DATA_VARIABLE}")
        )
    return [place / name for name in files]
