"""Milliseconds of any kernel on a device, from those that were measured there."""

from collections.abc import Mapping, Sequence
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from l0compile.hardware.costs.features import Machine, counts
from l0compile.hardware.costs.record import Record, Work

_SWEEPS = 400
# A record corrects the works around it: by a weight of 1/e where shape, density and tokens differ by this factor in
# all, against the weight of "no correction".
_REACH = log(2.0)
_DOUBT = 0.05


class CostModel:
    """Costs of counts (``costs.features``), fitted to records; and how far records nearby lie from that sum."""

    def __init__(self, records: Sequence[Record], machine: Machine) -> None:
        """Fit to the best record of each work; failed ones say nothing here."""
        best: dict[Work, float] = {}
        for record in records:
            if record.ms is not None and counts(record.key.work, machine):
                best[record.key.work] = min(record.ms, best.get(record.key.work, record.ms))
        self._machine = machine
        self._known = best
        self.costs = _fit([(counts(work, machine), ms) for work, ms in best.items()])
        self._errors: dict[tuple[object, ...], list[tuple[NDArray[np.float64], float]]] = {}
        for work, ms in best.items():
            self._errors.setdefault(_family(work), []).append((_position(work), log(ms / self._sum(work))))

    def predict(self, work: Work) -> float | None:
        """Milliseconds of one call; None when no work of its family was measured."""
        family = self._errors.get(_family(work))
        if family is None:
            return None
        here, weights, errors = _position(work), [], []
        for place, error in family:
            weights.append(exp(-((float(np.abs(here - place).sum()) / _REACH) ** 2)))
            errors.append(error)
        total = sum(weights)
        correction = sum(w * e for w, e in zip(weights, errors, strict=True)) / (total + _DOUBT)
        return self._sum(work) * exp(correction)

    def _sum(self, work: Work) -> float:
        found = sum(self.costs.get(name, 0.0) * n for name, n in counts(work, self._machine).items())
        return max(found, 1e-6)


def _family(work: Work) -> tuple[object, ...]:
    """Works that are measured for one another."""
    return (work.op, work.block, work.dtype, "" if work.op in ("linear", "attention") else work.variant)


def _position(work: Work) -> NDArray[np.float64]:
    """Where a work lies among its family: logarithms of its extents, and a flag for each word of its variant."""
    extents = (*work.shape, work.tokens, work.density)
    flags = [
        0.3 * (word in work.variant)
        for word in ("residual", "gelu", "silu", "relu", "causal", "mask", "bias")
    ]
    return np.array([*(log(max(extent, 1e-3)) for extent in extents), *flags])


def _fit(samples: Sequence[tuple[Mapping[str, float], float]]) -> dict[str, float]:
    """Costs of at least 0 that make the sums' relative errors small (least squares, one coordinate after another)."""

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
