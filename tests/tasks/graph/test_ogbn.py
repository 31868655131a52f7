"""The files of ogbn-products: a small folder like theirs, and what is said where something is missing."""

import gzip
from pathlib import Path

import pytest
import torch

from l0compile.errors import DataError
from l0compile.tasks.graph import load_ogbn_products

FILES = {
    "raw/node-feat.csv.gz": "0.5,1.0\n-1.5,0.25\n2.0,3.0\n",
    "raw/node-label.csv.gz": "1\n0\n2\n",
    "raw/edge.csv.gz": "0,1\n2,1\n",
    "split/sales_ranking/train.csv.gz": "0\n",
    "split/sales_ranking/valid.csv.gz": "1\n",
    "split/sales_ranking/test.csv.gz": "2\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(tmp_path / name, "wt", encoding="utf-8") as file:
            file.write(text)
    return tmp_path


def test_a_folder_is_read(folder: Path) -> None:
    data = load_ogbn_products(folder)
    assert torch.equal(data.features, torch.tensor([[0.5, 1.0], [-1.5, 0.25], [2.0, 3.0]]))
    lists = [row.tolist() for row in data.neighbours.of.tensor_split(data.neighbours.starts[1:])]
    assert data.labels.tolist() == [1, 0, 2] and lists == [[1], [0, 2], [1]]
    assert {part: rows.tolist() for part, rows in data.parts.items()} == {
        "train": [0], "validation": [1], "held_out": [2]
    }  # fmt: skip
    assert data.classes == ("category 0", "category 1", "category 2")


def test_a_missing_or_damaged_file_says_what_to_download(folder: Path) -> None:
    (folder / "raw/edge.csv.gz").write_bytes(b"not compressed")
    with pytest.raises(DataError, match=r"edge.csv.gz: expected lines of numbers.*products.zip"):
        load_ogbn_products(folder)
    (folder / "raw/edge.csv.gz").unlink()
    with pytest.raises(DataError, match=r"expected raw/edge.csv.gz in .*products.zip"):
        load_ogbn_products(folder)
