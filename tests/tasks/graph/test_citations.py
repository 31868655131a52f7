"""Cora's file: a small one like it, damaged ones, and the real one where it is."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from l0compile.errors import DataError
from l0compile.tasks.graph import load_cora


def arrays(**changed: Any) -> dict[str, np.ndarray]:
    """Four papers with five words; the third has none."""
    found = {
        "x_indptr": np.array([0, 2, 3, 3, 6]),
        "x_indices": np.array([0, 4, 1, 0, 1, 2]),
        "x_shape": np.array([4, 5]),
        "y": np.array([0, 1, 2, 1]),
        "edges": np.array([[0, 1], [1, 3]]),
        "train_idx": np.array([0]),
        "val_idx": np.array([1]),
        "test_idx": np.array([2, 3]),
    }
    return {**found, **changed}


def test_rows_add_up_to_one_and_edges_go_both_ways(tmp_path: Path) -> None:
    np.savez(tmp_path / "cora.npz", **arrays())
    data = load_cora(tmp_path, loops=False)
    expected = torch.tensor([[0.5, 0, 0, 0, 0.5], [0, 1, 0, 0, 0], [0] * 5, [1 / 3, 1 / 3, 1 / 3, 0, 0]])
    torch.testing.assert_close(data.features, expected)
    lists = data.neighbours
    assert [row.tolist() for row in lists.of.tensor_split(lists.starts[1:])] == [[1], [0, 3], [2], [1]]
    assert data.parts["held_out"].tolist() == [2, 3] and "MIT" in data.source
    assert load_cora(tmp_path).neighbours.degrees().tolist() == [2, 3, 1, 2]


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    found = arrays()
    del found["val_idx"], found["y"]
    np.savez(tmp_path / "cora.npz", **found)
    with pytest.raises(DataError, match="got none named y, val_idx; download the data again from https"):
        load_cora(tmp_path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"x_indices": np.array([0, 4, 1, 0, 1, 5])}, "expected words from 0 to 4"),
        ({"x_indptr": np.array([0, 2, 3, 6])}, "expected 4 rows of words"),
        ({"y": np.array([0, 1, 2])}, "expected as many features and labels as nodes"),
        ({"y": np.array([0, 1, 7, 1])}, "expected labels from 0 to 6"),
        ({"edges": np.array([[0, 4]])}, "expected nodes from 0 to 3"),
        ({"train_idx": np.array([4])}, "part train: expected nodes from 0 to 3"),
        ({"test_idx": np.array([], dtype=np.int64)}, "got none for held_out"),
        ({"y": np.array(["a", "b", "c", "d"])}, "invalid literal"),
    ],
)
def test_arrays_that_do_not_fit_are_told(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    np.savez(tmp_path / "cora.npz", **arrays(**changed))
    with pytest.raises(DataError, match=told):
        load_cora(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"no archive at all"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cora.npz").write_bytes(content)
    with pytest.raises(DataError, match="expected arrays stored by numpy"):
        load_cora(tmp_path)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "cora.npz", **arrays(y=np.array([{"a": 1}, None, None, None], dtype=object)))
    with pytest.raises(DataError, match="without Python objects"):
        load_cora(tmp_path)


def test_a_missing_file_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected cora.npz in .*kimiyoung/planetoid"):
        load_cora(tmp_path)


@pytest.mark.skipif(
    "L0COMPILE_DATA" not in os.environ, reason="L0COMPILE_DATA names no folder with planetoid/cora.npz"
)
def test_the_real_file_has_the_standard_split() -> None:
    data = load_cora()
    assert data.features.shape == (2708, 1433) and data.neighbours.edges == 2 * 5278 + 2708
    assert [len(data.parts[part]) for part in ("train", "validation", "held_out")] == [140, 500, 1000]
    assert torch.bincount(data.labels[data.parts["train"]]).tolist() == [20] * 7
