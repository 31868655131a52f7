"""Cora: papers on machine learning that cite each other, each with the words that occur in it and its subject."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from l0compile.errors import DataError
from l0compile.tasks.classification import Part
from l0compile.tasks.data_folder import data_files
from l0compile.tasks.graph.neighbours import Neighbours
from l0compile.tasks.graph.nodes import NodeData

# In the order of the labels of the Planetoid files.
SUBJECTS = (
    "Theory", "Reinforcement_Learning", "Genetic_Algorithms", "Neural_Networks", "Probabilistic_Methods", "Case_Based",
    "Rule_Learning",
)  # fmt: skip
SOURCE = (
    "Cora, the files and the split of Planetoid (Yang et al., ICML 2016; github.com/kimiyoung/planetoid, MIT)"
)
DOWNLOAD = (
    "https://github.com/kimiyoung/planetoid (MIT), folder data, and store them in one file by numpy.savez: x_indptr, "
    "x_indices and x_shape (rows of words), y, edges [n, 2], train_idx, val_idx and test_idx"
)
_KEYS = ("x_indptr", "x_indices", "x_shape", "y", "edges", "train_idx", "val_idx", "test_idx")
_PARTS: dict[Part, str] = {"train": "train_idx", "validation": "val_idx", "held_out": "test_idx"}


def load_cora(path: Path | None = None, *, loops: bool = True) -> NodeData:
    """Read Cora, with rows of features that add up to 1 (as Kipf & Welling, ICLR 2017, section 5.2, have them).

    Args:
        path: the folder of ``cora.npz``; default: ``planetoid`` below ``$L0COMPILE_DATA``.
        loops: each node is in its own list of neighbours, as a GCN wants it.

    Returns:
        2,708 papers, 5,278 citations, 1,433 words, 7 subjects; 140 nodes to train on, 500 to validate, 1,000 to test.

    Raises:
        DataError: the file is missing or damaged, or an array in it is missing or does not fit.
    """
    (file,) = data_files("cora", "planetoid", ("cora.npz",), DOWNLOAD, path)
    arrays = _read(file)
    try:
        features = _words(arrays["x_indptr"], arrays["x_indices"], arrays["x_shape"])
        labels = torch.from_numpy(arrays["y"].astype(np.int64))
        edges = torch.from_numpy(arrays["edges"].astype(np.int64)).t()
        parts = {name: torch.from_numpy(arrays[key].astype(np.int64)) for name, key in _PARTS.items()}
        neighbours = Neighbours.from_edges(edges, len(features), loops=loops)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        return NodeData(features, labels, neighbours, parts, SUBJECTS, SOURCE, digest)
    except (DataError, ValueError, IndexError, TypeError, RuntimeError) as error:
        raise DataError(f"tasks.cora: {file}: {error}; download the data again from {DOWNLOAD}") from error


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            missing = [key for key in _KEYS if key not in stored]
            if missing:
                raise DataError(
                    f"tasks.cora: {file}: expected the arrays {', '.join(_KEYS)}, got none named {', '.join(missing)}; "
                    f"download the data again from {DOWNLOAD}"
                )
            return {key: stored[key] for key in _KEYS}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"tasks.cora: {file}: expected arrays stored by numpy.savez, without Python objects, and could not "
            f"read them ({error}); download the data again from {DOWNLOAD}"
        ) from error


def _words(indptr: np.ndarray, indices: np.ndarray, shape: np.ndarray) -> Tensor:
    """Return float32 [rows, words], 1 over the number of words of the row where a word occurs."""
    rows, words = (int(size) for size in shape)
    counts = np.diff(indptr)
    if len(counts) != rows or len(indices) != int(indptr[-1]) or (counts < 0).any():
        raise DataError(
            f"expected {rows} rows of words, got bounds for {len(counts)} and {len(indices)} words"
        )
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < words:
        raise DataError(f"expected words from 0 to {words - 1}, got {indices.min()} to {indices.max()}")
    dense = np.zeros((rows, words), dtype=np.float32)
    dense[np.repeat(np.arange(rows), counts), indices] = np.repeat(1.0 / np.maximum(counts, 1), counts)
    return torch.from_numpy(dense)
