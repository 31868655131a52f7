"""An artifact folder as one string of bytes, for ``pickle`` and ``copy``, with the same checks."""

import io
import re
import zipfile
from pathlib import Path

from l0compile.errors import ArtifactError
from l0compile.runtime.artifact.bundle import WEIGHTS
from l0compile.runtime.artifact.manifest import MANIFEST

_NAMES = re.compile(rf"{re.escape(MANIFEST)}|{re.escape(WEIGHTS)}|lib(_\d+)?\.so")


def pack(folder: Path) -> bytes:
    """Return the files of an artifact folder as bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Write the files that ``pack`` read into ``folder``.

    Raises:
        ArtifactError: the bytes hold something else than the files of an artifact.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if _NAMES.fullmatch(name) is None:
                    raise ArtifactError(f"unpickle: {name!r} is no file of an artifact; save the model again")
                archive.extract(name, folder)
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"unpickle: the model's bytes are damaged ({error}); save it again") from error
