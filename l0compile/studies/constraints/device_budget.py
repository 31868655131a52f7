"""A latency budget on one machine, and models measured against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l0compile.measurement import Measurement, Protocol, Ratio, ratio
from l0compile.measurement.stopwatch import Job
from l0compile.studies.bench.bench import CLOSE, Bench
from l0compile.studies.bench.engines import CHOSEN, DENSE, ROW_OF
from l0compile.studies.constraints.yardstick import Yardstick


@dataclass(frozen=True)
class DeviceBudget:
    """A latency budget on this machine: ``ms`` milliseconds, or ``ratio`` times the latency of ``reference``.

    Models are always measured beside the reference, because a machine becomes slower and faster from minute to minute.
    reference_ms: the latency of the reference when a budget in milliseconds was set. yardstick: what models are
    compared with if the reference is an engine of others.
    """

    ms: float
    ratio: float | None = None
    reference: Job | None = None
    reference_ms: float | None = None
    yardstick: Yardstick | None = None

    @property
    def dense_load(self) -> Ratio | None:
        """The load of the yardstick, which gets better known; None if there is none."""
        if self.yardstick is None or self.ratio is None:
            return None
        times = self.yardstick.times()
        return Ratio(*(1.0 / (self.ratio * value) for value in (times.value, times.high, times.low)))

    @property
    def scale_ms(self) -> float | None:
        """The latency of the reference when the budget was set."""
        return self.reference_ms if self.ratio is None else self.ms / self.ratio

    def scaled(self, found: Measurement, beside: Mapping[str, Measurement]) -> float:
        """Convert ``found`` to milliseconds on the scale of the budget, by its ratio to the reference."""
        if self.scale_ms is None or self.reference is None:
            return found.median_ms
        reference = beside[ROW_OF[self.reference[0]]]
        return self.scale_ms / ratio(reference, found, paired=True).value

    def measure(
        self, bench: Bench, artifact: Path, band: tuple[float, float] | None = None
    ) -> tuple[Measurement, Ratio]:
        """Measure a saved model beside the reference.

        Args:
            bench: where to measure.
            artifact: folder of the saved model.
            band: loads aimed at. The measurement ends early if the model is certainly outside.

        Returns:
            The latency, and the load: the latency over the budget, NaN if the measurement failed.
        """
        names, jobs = [CHOSEN], {CHOSEN: bench.job(artifact)}
        if self.reference is not None:
            names.insert(0, name := ROW_OF[self.reference[0]])
            jobs[name] = self.reference
        if self.yardstick is not None:
            names[0], jobs[DENSE] = DENSE, self.yardstick.job

        def decided(found: Mapping[str, Measurement]) -> bool:
            if band is None or not all(name in found for name in names):
                return False
            load, times = (
                self._load(found, names[0]).value,
                ratio(found[names[0]], found[CHOSEN], paired=True),
            )
            # Of the model alone: how well the reference is known is the same for all models.
            low, high = load * times.value / times.high, load * times.value / times.low
            return high < band[0] or low > band[1]

        protocol = bench.timed(Protocol.careful())
        measured = bench.compare(jobs, {}, protocol, names, width=CLOSE, turns=1, decided=decided)
        if self.yardstick is not None and self.reference is not None:
            self.yardstick.add(measured[ROW_OF[self.reference[0]]], measured[DENSE])
        return measured[CHOSEN], self._load(measured, names[0])

    def _load(self, measured: Mapping[str, Measurement], beside: str) -> Ratio:
        """Return the latency of the model over the budget, with its interval."""
        found, other, dense = measured[CHOSEN], measured[beside], self.dense_load
        if not (found.ok and other.ok) or (
            dense is None and (self.scale_ms is None or self.reference is None)
        ):
            return Ratio(*(ms / self.ms for ms in (found.median_ms, found.low_ms, found.high_ms)))
        times = ratio(other, found, paired=True)
        if dense is not None:
            return Ratio(dense.value / times.value, dense.low / times.high, dense.high / times.low)
        unit = (self.scale_ms or 1.0) / self.ms
        return Ratio(unit / times.value, unit / times.high, unit / times.low)
