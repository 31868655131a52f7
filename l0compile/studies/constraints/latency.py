"""The latency budget of a space: the table ``[latency]``."""

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from l0compile.ir.codec import Meta
from l0compile.measurement import Ratio, ratio
from l0compile.studies.bench.engines import CHOSEN, ROW_OF, DenseEngine
from l0compile.studies.constraints.constraint import Chosen
from l0compile.studies.pruning.bounds import Bound
from l0compile.studies.result import BAND, Requirement


@dataclass(frozen=True)
class LatencyBudget:
    """At most ``ms`` milliseconds, or ``ratio`` times the dense latency of the engine ``reference`` on this machine.

    Both are None under a `QualityTarget`: the search then makes the latency as short as it can. percentile: the
    percentile of the measured calls that counts.
    """

    ratio: Annotated[float, Meta(ge=0.01, le=10.0)] | None = None
    ms: Annotated[float, Meta(ge=0.001, le=1e6)] | None = None
    reference: DenseEngine = "onnxruntime"
    percentile: Annotated[float, Meta(ge=1.0, le=99.0)] = 50.0
    kind = "latency"

    def in_ms(self, reference_ms: float) -> float:
        """Return the budget in milliseconds, given the reference's dense latency."""
        return self.ms if self.ms is not None else (self.ratio or 1.0) * reference_ms

    def plan(self, dense: nn.Module, layers: tuple[str, ...]) -> Bound | None:
        """Return None: every allocation is made for a time anyway."""
        return None

    def measure(self, chosen: Chosen) -> float:
        """Return the latency over the budget; NaN if the model could not be measured."""
        return _load(chosen).value

    def verdict(self, found: float, chosen: Chosen) -> Requirement:
        """Compare the latency with the budget.

        A budget relative to another engine can be missed in the end by a model that was fitted to it: other programs
        slow engines down by different factors. If the reference could not be measured in the end, its first latency
        counts.
        """
        budget, measurement = chosen.budget, chosen.measured[CHOSEN]
        what = f"latency of at most {budget.ms:.4g} ms"
        if not measurement.ok:
            return Requirement(what, f"not measured: {measurement.error}", met=False, kind=self.kind)
        if budget.ratio is not None and budget.reference is not None:
            row = ROW_OF[budget.reference[0]]
            what = f"latency of at most {budget.ratio:.3g} × {row}"
            if row not in chosen.measured or not chosen.measured[row].ok:
                what += f" when the search began ({budget.ms:.4g} ms): in the end it could not be measured"
        load = _load(chosen)
        words = ", faster than needed" if load.value < BAND[0] else ""
        said = "predicted " if measurement.predicted else ""
        interval = f"{said}{load.value:.3f} of the budget [{load.low:.3f}, {load.high:.3f}]{words}"
        return Requirement(what, interval, found <= BAND[1], self.kind)


def _load(chosen: Chosen) -> Ratio:
    """Return the latency over the budget; relative to the reference if both were measured."""
    budget, measurement = chosen.budget, chosen.measured[CHOSEN]
    reference = chosen.measured.get(ROW_OF[budget.reference[0]]) if budget.reference else None
    if budget.ratio is not None and reference is not None and reference.ok and measurement.ok:
        found = ratio(reference, measurement, paired=True)
        return Ratio(*(1.0 / (speedup * budget.ratio) for speedup in (found.value, found.high, found.low)))
    return Ratio(*(ms / budget.ms for ms in (measurement.median_ms, measurement.low_ms, measurement.high_ms)))
