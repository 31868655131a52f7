"""A latency budget on one machine, and models measured against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l0compile.measurement import Measurement, Protocol, Ratio, ratio
from l0compile.measurement.stopwatch import Job
from l0compile.studies.bench.bench import CLOSE, Bench
from l0compile.studies.bench.engines import CHOSEN, ROW_OF

# Stop measuring once the whole interval of a load is off by this factor.
_FAR = 1.1


@dataclass(frozen=True)
class DeviceBudget:
    """A latency budget on this machine: ``ms`` milliseconds, or ``ratio`` times the latency of ``reference``.

    Models are always measured beside the reference, because a machine becomes slower and faster from minute to minute.
    reference_ms: the latency of the reference when a budget in milliseconds was set.
    """

    ms: float
    ratio: float | None = None
    reference: Job | None = None
    reference_ms: float | None = None

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

    def measure(self, bench: Bench, artifact: Path, wanted: float = 1.0) -> tuple[Measurement, Ratio]:
        """Measure a saved model beside the reference.

        Args:
            bench: where to measure.
            artifact: folder of the saved model.
            wanted: the load aimed at. The measurement ends early if the load is far from it.

        Returns:
            The latency, and the load: the latency over the budget, NaN if the measurement failed.
        """
        names, jobs = [CHOSEN], {CHOSEN: bench.job(artifact)}
        if self.reference is not None:
            names.insert(0, name := ROW_OF[self.reference[0]])
            jobs[name] = self.reference

        def decided(found: Mapping[str, Measurement]) -> bool:
            if not all(name in found for name in names):
                return False
            load = self._load(found, names[0])
            return load.high * _FAR < wanted or load.low > wanted * _FAR

        protocol = bench.timed(Protocol.careful())
        measured = bench.compare(jobs, {}, protocol, names, width=CLOSE, turns=1, decided=decided)
        return measured[CHOSEN], self._load(measured, names[0])

    def _load(self, measured: Mapping[str, Measurement], reference: str) -> Ratio:
        """Return the latency of the model over the budget, with its interval."""
        found, beside = measured[CHOSEN], measured[reference]
        if self.scale_ms is None or self.reference is None or not (found.ok and beside.ok):
            return Ratio(*(ms / self.ms for ms in (found.median_ms, found.low_ms, found.high_ms)))
        times, unit = ratio(beside, found, paired=True), self.scale_ms / self.ms
        return Ratio(unit / times.value, unit / times.high, unit / times.low)
