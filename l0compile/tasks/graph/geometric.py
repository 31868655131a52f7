"""Graphs of PyTorch Geometric, and models that take its edges."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.tasks.classification import Part
from l0compile.tasks.graph.neighbours import Neighbours
from l0compile.tasks.graph.nodes import NodeData
from l0compile.tasks.graph.task import GraphOptions, GraphTask

_MASKS: dict[Part, str] = {"train": "train_mask", "validation": "val_mask", "held_out": "test_mask"}
_SPLIT: dict[Part, str] = {"train": "train", "validation": "valid", "held_out": "test"}


def from_geometric(
    data: Any,
    options: GraphOptions | None = None,
    *,
    split: Mapping[str, Tensor] | None = None,
    model: Callable[[], nn.Module] | None = None,
    name: str = "graph",
) -> GraphTask:
    """Make a task of a ``torch_geometric.data.Data``; anything with these attributes will do.

    Args:
        data: with ``x`` [nodes, features], ``edge_index`` [2, edges] (an edge goes from the first to the second, so a
            graph without directions has each edge both ways), ``y`` [nodes] or [nodes, 1], and, without ``split``, the
            masks ``train_mask``, ``val_mask`` and ``test_mask``.
        options: of model and training.
        split: "train", "valid" and "test" -> nodes, as ``dataset.get_idx_split()`` of OGB returns them.
        model: makes a model that takes ``(x, edge_index)``, such as one of PyTorch Geometric's layers. Default: the
            GCN or GraphSAGE of ``options``, whose operators compile to faster code.
        name: of the task.

    Raises:
        DataError: an attribute is missing, or sizes do not fit.
    """
    wanted = ("x", "edge_index", "y", *(() if split is not None else _MASKS.values()))
    missing = [key for key in wanted if getattr(data, key, None) is None]
    if missing:
        raise DataError(
            f"from_geometric: expected data with {', '.join(wanted)}, got {type(data).__name__} without "
            f"{', '.join(missing)}; give the nodes of each part as `split` if there are no masks"
        )
    options = options or GraphOptions()
    features, labels = data.x.float(), data.y.reshape(-1).long()
    neighbours = Neighbours.from_edges(
        data.edge_index, len(features), both=False, loops=options.model == "gcn" and model is None
    )
    if split is None:
        parts = {part: getattr(data, key).nonzero().reshape(-1) for part, key in _MASKS.items()}
    else:
        parts = {part: _rows(split, key) for part, key in _SPLIT.items()}
    digest = hashlib.sha256()
    for tensor in (features, labels, data.edge_index):
        digest.update(tensor.contiguous().numpy().tobytes())
    classes = tuple(f"class {number}" for number in range(int(labels.max()) + 1))
    found = NodeData(
        features, labels, neighbours, parts, classes, f"{type(data).__name__} given to from_geometric",
        digest.hexdigest()[:16],
    )  # fmt: skip
    if model is None:
        return GraphTask(found, options, name=name)
    return GraphTask(found, options, model=model, inputs=(features, data.edge_index), name=name)


def _rows(split: Mapping[str, Any], key: str) -> Tensor:
    if key not in split:
        raise DataError(f"from_geometric: split: expected train, valid and test, got {', '.join(split)}")
    return torch.as_tensor(split[key]).reshape(-1).long()
