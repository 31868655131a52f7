"""Find the data folders: inside the wheel, or beside the package in a checkout."""

from importlib import resources
from pathlib import Path


def shipped_folder(name: str) -> Path:
    """Return the folder ``targets`` or ``search_spaces``.

    A wheel carries it under ``l0compile/_data``; an editable install reads the one at the top of the checkout.
    """
    package = Path(str(resources.files("l0compile")))
    inside = package / "_data" / name
    return inside if inside.is_dir() else package.parent / name
