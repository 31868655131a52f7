"""The best weights behind gates: least squares towards the dense output, as in Optimal Brain Surgeon."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from l0compile.hardware.cores import on_all_cores
from l0compile.studies.pruning.curvature import Curvature

_CHUNK_BYTES = 64e6
Solve = Callable[[Curvature, Tensor, Tensor], Tensor]


def least_squares(weight: Tensor, curvature: Curvature, live: Tensor, rows: int) -> Tensor:
    """Return ``argmin_V E|(V - W) x|^2`` over V whose closed entries are 0.

    With A the (damped) Gram matrix of x, S the live and C the closed columns of a row: ``V_S = (W A)_S (A_SS)^-1``. The
    same as a correction of W is ``V = W - W_C ((A^-1)_CC)^-1 (A^-1)_C`` (Hassibi and Stork, NeurIPS 1992, for a set of
    weights). The smaller of both systems is solved.

    Args:
        weight: W [out, in], float32.
        curvature: of the layer; only its Gram matrix counts.
        live: bool [ceil(out / rows), in]; each group of ``rows`` consecutive output rows shares one pattern.
        rows: see ``live``.

    Returns:
        V [out, in], float32.
    """
    if live.all():
        return weight
    if not live.any():
        return torch.zeros_like(weight)
    groups = nn.functional.pad(weight, (0, 0, 0, -weight.shape[0] % rows)).unflatten(0, (-1, rows))
    solved = torch.empty_like(groups)
    counts = live.sum(1)
    # Solve groups of about equal size together, so that systems are hardly larger than a group needs.
    order = counts.argsort()
    sparse = 2 * counts[order] <= live.shape[1]
    step = max(1, int(_CHUNK_BYTES / (4 * live.shape[1] ** 2)))
    ways = ((order[sparse], _from_live), (order[~sparse], _from_closed))
    jobs = [(part, solve) for chosen, solve in ways for part in chosen.split(step) if len(part)]

    def solution(job: tuple[Tensor, Solve]) -> Tensor:
        part, solve = job
        return solve(curvature, groups[part], live[part])

    for (part, _), weights in zip(jobs, on_all_cores(solution, jobs), strict=True):
        solved[part] = weights
    return solved.flatten(0, 1)[: weight.shape[0]]


def _from_live(curvature: Curvature, weights: Tensor, live: Tensor) -> Tensor:
    """Return V of groups [g, rows, in] with live columns [g, in], by solving for the live ones."""
    columns, extra = chosen(live)
    systems = stacked(padded(curvature.damped, extra), columns)
    targets = nn.functional.pad(weights @ curvature.damped, (0, extra))
    index = columns[:, None, :].expand(-1, weights.shape[1], -1)
    solution = torch.cholesky_solve(targets.gather(2, index).mT, torch.linalg.cholesky(systems)).mT
    return torch.zeros_like(targets).scatter_(2, index, solution)[..., : live.shape[1]]


def _from_closed(curvature: Curvature, weights: Tensor, live: Tensor) -> Tensor:
    """Return V of groups [g, rows, in] with live columns [g, in], by solving for the correction to close the rest."""
    columns, extra = chosen(~live)
    inverse = padded(curvature.inverse, extra)
    index = columns[:, None, :].expand(-1, weights.shape[1], -1)
    wanted = nn.functional.pad(weights, (0, extra)).gather(2, index)
    solution = torch.cholesky_solve(wanted.mT, torch.linalg.cholesky(stacked(inverse, columns))).mT
    change = torch.stack([x @ inverse[index] for x, index in zip(solution, columns, strict=True)])
    return (weights - change[..., : live.shape[1]]).masked_fill(~live[:, None, :], 0.0)


def chosen(mask: Tensor) -> tuple[Tensor, int]:
    """Return the indices [g, most] of the entries set in each row of ``mask`` [g, n].

    Rows with fewer entries are filled with n, n + 1, ...; also return how many such indices there are, see `padded`.
    """
    counts = mask.sum(1, keepdim=True)
    most = max(1, int(counts.max()))
    index = mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    beyond = torch.arange(most) - counts
    return torch.where(beyond < 0, index, mask.shape[1] + beyond), max(0, int(beyond.max()) + 1)


def padded(matrix: Tensor, extra: int) -> Tensor:
    """Append ``extra`` rows and columns of the identity to ``matrix``: unknowns of their own, which are 0."""
    return torch.block_diag(matrix, torch.eye(extra)) if extra else matrix


def stacked(matrix: Tensor, columns: Tensor) -> Tensor:
    """Return the rows and columns of ``matrix`` that each group names [g, size, size]."""
    return torch.stack([matrix[index][:, index] for index in columns])
