"""Milliseconds of any kernel on a device, from those that were measured there."""

from collections.abc import Mapping, Sequence
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from l0compile.hardware.costs.machine import CountedKernel, Machine
from l0compile.hardware.costs.record import CostRecord, KernelWorkload

_SWEEPS = 400
# A record corrects the workloads around it: by a weight of 1/e where shape, density and tokens differ by this factor in
# all, against the weight of "no correction".
_REACH = log(2.0)
_DOUBT = 0.05
# How far a word of the variant puts two workloads apart, as a logarithm.
_WORD = 0.3


class CostModel:
    """Costs of counts, fitted to records, and how far records nearby lie from the sum of these costs.

    Args:
        records: the best one of each workload is used; failed ones say nothing here.
        machine: the device that they were measured on.
        kernels: what is counted of the workloads; those of other operators are left out.
    """

    def __init__(
        self, records: Sequence[CostRecord], machine: Machine, kernels: Mapping[str, CountedKernel]
    ) -> None:
        self._machine, self._kernels = machine, kernels
        best: dict[KernelWorkload, float] = {}
        for record in records:
            if record.ms is not None and self.counts(record.key.work):
                best[record.key.work] = min(record.ms, best.get(record.key.work, record.ms))
        self.costs = _fit([(self.counts(work), ms) for work, ms in best.items()])
        self._errors: dict[tuple[object, ...], list[tuple[NDArray[np.float64], float]]] = {}
        for work, ms in best.items():
            error = log(ms / self._sum(work))
            self._errors.setdefault(self._family(work), []).append((self._position(work), error))

    def predict(self, work: KernelWorkload) -> float | None:
        """Milliseconds of one call; None when no workload of its family was measured."""
        family = self._errors.get(self._family(work)) if work.op in self._kernels else None
        if family is None:
            return None
        here, weights, errors = self._position(work), [], []
        for place, error in family:
            weights.append(exp(-((float(np.abs(here - place).sum()) / _REACH) ** 2)))
            errors.append(error)
        total = sum(weights)
        correction = sum(w * e for w, e in zip(weights, errors, strict=True)) / (total + _DOUBT)
        return self._sum(work) * exp(correction)

    def counts(self, work: KernelWorkload) -> Mapping[str, float]:
        """Name of a count -> how many, zeros left out; empty for an operator that nothing is known of."""
        kernel = self._kernels.get(work.op)
        found = kernel.counts(work, self._machine) if kernel else {}
        return {name: float(count) for name, count in found.items() if count}

    def _sum(self, work: KernelWorkload) -> float:
        return max(sum(self.costs.get(name, 0.0) * n for name, n in self.counts(work).items()), 1e-6)

    def _family(self, work: KernelWorkload) -> tuple[object, ...]:
        """Workloads that are measured for one another."""
        variant = "" if self._kernels[work.op].words else work.variant
        return (work.op, len(work.shape), work.block, work.dtype, variant)

    def _position(self, work: KernelWorkload) -> NDArray[np.float64]:
        """Where a workload lies in its family: logarithms of its extents, and a flag for each word of its variant."""
        extents = (*work.shape, work.tokens, work.density)
        flags = [_WORD * (word in work.variant) for word in self._kernels[work.op].words]
        return np.array([*(log(max(extent, 1e-3)) for extent in extents), *flags])


def _fit(samples: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """Return costs of at least 0 that make the relative errors of the sums small.

    Non-negative least squares, one coordinate after another. ``scipy.optimize.nnls`` gives the same, but importing it
    takes six times as long as this takes to run, in every process that compiles.
    """
    names = sorted({name for each, _ in samples for name in each})
    if not names:
        return {}
    matrix = np.array([[each.get(name, 0.0) / ms for name in names] for each, ms in samples])
    scale = np.sqrt((matrix**2).sum(axis=0))
    matrix /= scale
    gram, wanted = matrix.T @ matrix, matrix.sum(axis=0)
    found = np.zeros(len(names))
    for _ in range(_SWEEPS):
        for i in range(len(names)):
            found[i] = max(0.0, found[i] + wanted[i] - gram[i] @ found)
    return dict(zip(names, (found / scale).tolist(), strict=True))
