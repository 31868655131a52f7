"""The paths of all gated layers, computed once and cached on disk for a resumed search or another budget."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from l0compile.gates import dense_weight
from l0compile.hardware.cores import on_all_cores
from l0compile.studies.pruning.curvature import Curvature
from l0compile.studies.pruning.level import Shape
from l0compile.studies.pruning.prune import PruningPath
from l0compile.studies.pruning.pruners import DEFAULT_PRUNER, PRUNERS


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
    way, given = PRUNERS[pruner], {name: dense_weight(model.get_submodule(name)).detach() for name in shapes}
    keys = {name: _key(way.version, weight, curvature[name]) for name, weight in given.items()}

    def path(job: tuple[str, Shape]) -> PruningPath:
        name, shape = job
        file = cache / f"{keys[name]}-{shape[0]}x{shape[1]}.safetensors" if cache else None
        known = _read(file, shape) if file is not None else None
        if known is not None:
            return known
        made = way.prune(given[name], curvature[name], shape)
        if file is not None:
            _write(file, made)
        return made

    found: dict[str, dict[Shape, PruningPath]] = {name: {} for name in shapes}
    jobs = [(name, shape) for name, wanted in shapes.items() for shape in wanted]
    for done, ((name, shape), made) in enumerate(zip(jobs, on_all_cores(path, jobs), strict=True), start=1):
        found[name][shape] = made
        told(done, len(jobs))
    return found


def _key(version: object, weight: Tensor, curvature: Curvature) -> str:
    """Return a hash of all that a path depends on."""
    key = hashlib.sha256(repr(version).encode())
    for tensor in (weight, curvature.gram, curvature.sensitivity):
        key.update(tensor.contiguous().numpy().tobytes())
    return key.hexdigest()[:16]


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
