"""The files of UCI Adult, read and encoded: numbers by quantiles, categories by index."""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from l0compile.errors import DataError
from l0compile.tasks.classification import Part
from l0compile.tasks.data_folder import data_files

NUMBERS = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")
CATEGORIES = (
    "workclass", "education", "marital-status", "occupation", "relationship", "race", "sex", "native-country",
)  # fmt: skip
COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race",
    "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country",
)  # fmt: skip
LABELS = ("<=50K", ">50K")
DOWNLOAD = "https://archive.ics.uci.edu/dataset/2/adult (CC BY 4.0)"
# Of the training file. The published figures (rtdl-revisiting-models) hold back as much.
VALIDATION_SHARE = 0.2
_QUANTILES = 1000
# Index 0 stands for a category that training never saw.
_UNSEEN = 0


@dataclass(frozen=True)
class People:
    """Encoded people. numbers: float32 [N, 6]. categories: int64 [N, 8]. labels: int64 [N], 1 for more than 50K."""

    numbers: Tensor
    categories: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Census:
    """Encoded people by part; the encoding is fitted on the training part alone.

    sizes: how many indices each categorical column has. digest: of the files.
    """

    parts: dict[Part, People]
    sizes: tuple[int, ...]
    digest: str


def load_census(path: Path | None = None) -> Census:
    """Read and encode the files.

    Args:
        path: the folder of ``adult.data`` and ``adult.test``; default: ``adult`` below ``$L0COMPILE_DATA``.

    Raises:
        DataError: a file is missing, or a line is not as UCI's.
    """
    files = data_files("adult", "adult", ("adult.data", "adult.test"), DOWNLOAD, path)
    training, held_out = (_read(file) for file in files)
    order = torch.randperm(len(training), generator=torch.Generator().manual_seed(0)).tolist()
    cut = round(len(training) * VALIDATION_SHARE)
    tables = {
        "train": [training[row] for row in order[cut:]],
        "validation": [training[row] for row in order[:cut]],
        "held_out": held_out,
    }
    known = [sorted({row[COLUMNS.index(name)] for row in tables["train"]}) for name in CATEGORIES]
    quantiles = [_quantiles(_numbers(tables["train"], name)) for name in NUMBERS]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    parts: dict[Part, People] = {
        "train": _encode(tables["train"], known, quantiles),
        "validation": _encode(tables["validation"], known, quantiles),
        "held_out": _encode(tables["held_out"], known, quantiles),
    }
    return Census(parts, tuple(len(names) + 1 for names in known), digest)


def _read(file: Path) -> list[list[str]]:
    """Read the lines of a file; the test file begins with a comment, and its labels end in a full stop."""
    rows = []
    with file.open(newline="", encoding="utf-8") as lines:
        for number, cells in enumerate(csv.reader(lines, skipinitialspace=True), start=1):
            if not cells or cells[0].startswith("|"):
                continue
            row = [*cells[:-1], cells[-1].rstrip(".")]
            if len(row) != len(COLUMNS) + 1 or row[-1] not in LABELS:
                raise DataError(
                    f"tasks.adult: {file}: line {number}: expected {len(COLUMNS)} columns and one of "
                    f"{', '.join(LABELS)}, "
                    f"got {len(cells)} cells, the last {cells[-1]!r}; download the file again from {DOWNLOAD}"
                )
            rows.append(row)
    if len(rows) < 10:
        raise DataError(f"tasks.adult: {file}: expected at least 10 people, got {len(rows)}")
    return rows


def _numbers(rows: Sequence[Sequence[str]], name: str) -> np.ndarray:
    column = COLUMNS.index(name)
    try:
        return np.array([float(row[column]) for row in rows])
    except ValueError as error:
        raise DataError(f"tasks.adult: {name}: expected numbers in every row, got {error}") from error


def _quantiles(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, np.linspace(0.0, 1.0, _QUANTILES))


def _normal(values: np.ndarray, quantiles: np.ndarray) -> Tensor:
    """Map values to the normal distribution by their rank; ties get the middle of their ranks."""
    levels = np.linspace(0.0, 1.0, len(quantiles))
    upper = np.interp(values, quantiles, levels)
    lower = 1.0 - np.interp(-values, -quantiles[::-1], levels)
    rank = torch.from_numpy((upper + lower) / 2).clamp(1e-7, 1 - 1e-7)
    return torch.special.ndtri(rank).float()


def _encode(
    rows: Sequence[Sequence[str]], known: Sequence[Sequence[str]], quantiles: Sequence[np.ndarray]
) -> People:
    numbers = [_normal(_numbers(rows, name), table) for name, table in zip(NUMBERS, quantiles, strict=True)]
    categories = []
    for name, names in zip(CATEGORIES, known, strict=True):
        index = {category: place for place, category in enumerate(names, start=_UNSEEN + 1)}
        column = COLUMNS.index(name)
        categories.append(torch.tensor([index.get(row[column], _UNSEEN) for row in rows]))
    labels = torch.tensor([LABELS.index(row[-1]) for row in rows])
    return People(torch.stack(numbers, 1), torch.stack(categories, 1), labels)
