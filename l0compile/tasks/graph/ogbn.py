"""The files of ogbn-products, read from the folder where the user has them."""

import hashlib
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from l0compile.errors import DataError
from l0compile.tasks.classification import Part
from l0compile.tasks.data_folder import data_files
from l0compile.tasks.graph.neighbours import Neighbours
from l0compile.tasks.graph.nodes import NodeData

DOWNLOAD = (
    "http://snap.stanford.edu/ogb/data/nodeproppred/products.zip (1.4 GB; Amazon licence, see "
    "https://ogb.stanford.edu/docs/nodeprop/#ogbn-products) and unpack it"
)
_SPLIT = "split/sales_ranking"
_PARTS: dict[Part, str] = {"train": "train", "validation": "valid", "held_out": "test"}
_FILES = (
    "raw/node-feat.csv.gz", "raw/node-label.csv.gz", "raw/edge.csv.gz",
    *(f"{_SPLIT}/{name}.csv.gz" for name in _PARTS.values()),
)  # fmt: skip


def load_ogbn_products(path: Path | None = None, *, loops: bool = False) -> NodeData:
    """Read ogbn-products from its text files; the package ogb, which unpickles, is not needed.

    Reading takes a few minutes, and about twice the memory of the arrays.

    Args:
        path: the folder ``products`` of the unpacked download; default: ``products`` below ``$L0COMPILE_DATA``.
        loops: each node is in its own list of neighbours, as a GCN wants it.

    Returns:
        2,449,029 products, 61,859,140 pairs bought together, 100 features, 47 categories, split by sales rank.

    Raises:
        DataError: a file is missing or damaged; the message says what to download.
    """
    features, labels, edges, *parts = data_files("products", "products", _FILES, DOWNLOAD, path)
    rows = dict(zip(_PARTS, (_numbers(file, np.int64).reshape(-1) for file in parts), strict=True))
    found = _numbers(labels, np.int64).reshape(-1)
    x = _numbers(features, np.float32)
    ends = _numbers(edges, np.int64).T
    digest = hashlib.sha256(found.numpy().tobytes() + str(list(ends.shape)).encode()).hexdigest()[:16]
    classes = tuple(f"category {number}" for number in range(int(found.max()) + 1))
    neighbours = Neighbours.from_edges(ends, len(x), loops=loops)
    source = "ogbn-products (Hu et al., NeurIPS 2020; Amazon licence)"
    return NodeData(x, found, neighbours, rows, classes, source, digest)


def _numbers(file: Path, dtype: type[np.generic]) -> Tensor:
    """Return the numbers of a compressed text file [lines, numbers of a line]."""
    try:
        return torch.from_numpy(np.loadtxt(file, delimiter=",", dtype=dtype, ndmin=2))
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(
            f"tasks.products: {file}: expected lines of numbers separated by commas, compressed by gzip ({error}); "
            f"download the data again from {DOWNLOAD}"
        ) from error
