"""The best weights for what gates leave: least squares towards the dense output, as in Optimal Brain Surgeon."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.gates import dense_weight
from l0compile.search.curvature import Curvature
from l0compile.search.masks import block_rows, live_columns

_CHUNK_BYTES = 256e6


def repair(model: nn.Module, curvature: Mapping[str, Curvature]) -> None:
    """Set, in place, the weights that gates leave open to the least-squares best for the layer's dense output.

    Weights under closed gates keep their dense values, so that a gate that opens again in training finds a useful one.
    """
    for name, statistics in curvature.items():
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise DataError(f"search: {name!r}: expected an nn.Linear, got {type(layer).__name__}")
        weight, rows, live = dense_weight(layer).detach(), block_rows(layer), live_columns(layer)
        if not live.all():
            solved = least_squares(weight, statistics, live, rows)
            mask = live.repeat_interleave(rows, 0)[: weight.shape[0]]
            dense_weight(layer).data.copy_(torch.where(mask, solved, weight))


def least_squares(weight: Tensor, curvature: Curvature, live: Tensor, rows: int) -> Tensor:
    """``argmin_V E|(V - W) x|^2`` over V whose closed entries are 0: float32 [out, in].

    With A the (damped) Gram matrix of x and S the live, C the closed columns of a row: ``V_S = (W A)_S (A_SS)^-1``, or
    the same as a correction of W, ``V = W - W_C ((A^-1)_CC)^-1 (A^-1)_C`` (Hassibi and Stork, NeurIPS 1992, for a set
    of weights). Whichever system is smaller is solved.

    Args:
        weight: W, [out, in].
        live: bool [ceil(out / rows), in]; each group of `rows` consecutive output rows has one pattern.
    """
    groups = nn.functional.pad(weight, (0, 0, 0, -weight.shape[0] % rows)).unflatten(0, (-1, rows))
    solved = torch.empty_like(groups)
    counts = live.sum(1)
    # Groups of about equal size go together, so that a system is hardly larger than its group needs.
    order = counts.argsort()
    sparse = 2 * counts[order] <= live.shape[1]
    step = max(1, int(_CHUNK_BYTES / (4 * live.shape[1] ** 2)))
    for chosen, solve in ((order[sparse], _from_live), (order[~sparse], _from_closed)):
        for start in range(0, len(chosen), step):
            part = chosen[start : start + step]
            solved[part] = solve(curvature, groups[part], live[part])
    return solved.flatten(0, 1)[: weight.shape[0]]


def _from_live(curvature: Curvature, weights: Tensor, live: Tensor) -> Tensor:
    """V of groups [g, rows, in] with live columns [g, in], by solving for what is live."""
    columns, used = _columns(live)
    targets = weights @ curvature.damped
    solution = _solve(curvature.damped, columns, used, targets)
    return torch.zeros_like(weights).scatter_(2, columns[:, None, :].expand_as(solution), solution)


def _from_closed(curvature: Curvature, weights: Tensor, live: Tensor) -> Tensor:
    """V of groups [g, rows, in] with live columns [g, in], by solving for the correction that closes the others."""
    columns, used = _columns(~live)
    solution = _solve(curvature.inverse, columns, used, weights)
    # Rows of the inverse that pad a group meet zeros in its solution.
    change = torch.stack([x @ curvature.inverse[index] for x, index in zip(solution, columns, strict=True)])
    return (weights - change).masked_fill(~live[:, None, :], 0.0)


def _columns(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Chosen columns of each row of `mask` [g, in] as indices [g, size], and which of them are real, not padding."""
    size = int(mask.sum(1).max())
    columns = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :size]
    return columns, mask.gather(1, columns)


def _solve(matrix: Tensor, columns: Tensor, used: Tensor, right: Tensor) -> Tensor:
    """X [g, rows, size] with ``X matrix[c][:, c] = right[..., c]`` for each group's columns c; 0 at padding."""
    systems = torch.stack([matrix[index][:, index] for index in columns])
    systems *= used[:, :, None] & used[:, None, :]
    systems.diagonal(dim1=1, dim2=2).add_((~used).float())
    wanted = right.gather(2, columns[:, None, :].expand(-1, right.shape[1], -1)) * used[:, None, :]
    return torch.cholesky_solve(wanted.mT, torch.linalg.cholesky(systems)).mT
