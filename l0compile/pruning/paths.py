"""The paths of all gated layers, computed once and cached on disk for a resumed search or another budget."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from l0compile.gates import dense_weight
from l0compile.pruning.curvature import Curvature
from l0compile.pruning.level import Shape
from l0compile.pruning.prune import PruningPath
from l0compile.pruning.pruners import DEFAULT_PRUNER, PRUNERS


def all_paths(
    model: nn.Module,
    curvature: Mapping[str, Curvature],
    shapes: Mapping[str, Sequence[Shape]],
    cache: Path | None,
    told: Callable[[int, int], None] = lambda done, total: None,
    pruner: str = DEFAULT_PRUNER,
) -> dict[str, dict[Shape, PruningPath]]:
    """Prune every layer in ``shapes`` to each of its block shapes.

    Args:
        model: the model to prune; left as it is.
        curvature: of every layer in ``shapes``.
        shapes: layer -> block shapes.
        cache: folder that keeps every path once it is computed.
        told: called with the number of paths done and the total.
        pruner: name of the way to prune, see ``PRUNERS``.

    Returns:
        Layer -> block shape -> path.
    """
    found: dict[str, dict[Shape, PruningPath]] = {}
    way = PRUNERS[pruner]
    done, total = 0, sum(len(wanted) for wanted in shapes.values())
    for name, wanted in shapes.items():
        weight = dense_weight(model.get_submodule(name)).detach()
        key = hashlib.sha256(repr(way.version).encode())
        for tensor in (weight, curvature[name].gram, curvature[name].sensitivity):
            key.update(tensor.contiguous().numpy().tobytes())
        found[name] = {}
        for shape in wanted:
            file = cache / f"{key.hexdigest()[:16]}-{shape[0]}x{shape[1]}.safetensors" if cache else None
            path = _read(file, shape) if file is not None else None
            if path is None:
                path = way.prune(weight, curvature[name], shape)
                if file is not None:
                    _write(file, path)
            found[name][shape] = path
            done += 1
            told(done, total)
    return found


def _read(file: Path, shape: Shape) -> PruningPath | None:
    """Return None if there is no such file, or a damaged one."""
    try:
        with safe_open(file, framework="pt") as opened:
            densities = tuple(opened.get_tensor("densities").tolist())
            return PruningPath(shape, densities, opened.get_tensor("row_losses"), opened.get_tensor("gone"))
    except (OSError, SafetensorError):
        return None


def _write(file: Path, path: PruningPath) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.part")
    densities = torch.tensor(path.densities, dtype=torch.float64)
    save_file({"densities": densities, "row_losses": path.row_losses, "gone": path.gone}, draft)
    draft.replace(file)
