"""The latency budget of a search, and models measured against it."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from l0compile.errors import ConfigError, MissingDependency
from l0compile.measurement import Measurement, Protocol, Ratio, ratio
from l0compile.studies.fit.latency import CHOSEN, CLOSE, DENSE, READ_ONNX, ROW_OF, Bench, Job
from l0compile.studies.space.space import Space

# A load that is off by this factor, its whole interval, is known well enough.
_FAR = 1.1


@dataclass(frozen=True)
class Budgeted:
    """A latency budget on this machine.

    `ms` milliseconds, or `ratio` times what `reference` takes at that time. Models are always measured beside the
    reference, because a machine becomes slower and faster from minute to minute; reference_ms: what it took when a
    budget in milliseconds was set.
    """

    ms: float
    ratio: float | None = None
    reference: Job | None = None
    reference_ms: float | None = None

    @property
    def scale_ms(self) -> float | None:
        """What the reference took when the budget was set."""
        return self.reference_ms if self.ratio is None else self.ms / self.ratio

    def scaled(self, found: Measurement, beside: Mapping[str, Measurement]) -> float:
        """``found`` in milliseconds on the scale of the budget: by its ratio to the reference measured beside it."""
        if self.scale_ms is None or self.reference is None:
            return found.median_ms
        reference = beside[ROW_OF[self.reference[0]]]
        return self.scale_ms / ratio(reference, found, paired=True).value

    def measure(self, bench: Bench, artifact: Path, wanted: float = 1.0) -> tuple[Measurement, Ratio]:
        """Latency of a saved model, and that over the budget, beside the reference; NaN if it failed.

        wanted: the load that is aimed at; one that is far from it is measured less exactly.
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
        """Of the chosen model, with its interval."""
        found, beside = measured[CHOSEN], measured[reference]
        if self.scale_ms is None or self.reference is None or not (found.ok and beside.ok):
            return Ratio(*(ms / self.ms for ms in (found.median_ms, found.low_ms, found.high_ms)))
        times, unit = ratio(beside, found, paired=True), self.scale_ms / self.ms
        return Ratio(unit / times.value, unit / times.high, unit / times.low)


def budget_of(space: Space, measured: Mapping[str, Measurement], jobs: Mapping[str, Job]) -> Budgeted:
    """The latency budget, given dense measurements; under a floor of quality what the compiled dense model takes.

    Raises ConfigError if the reference could not be measured.
    """
    latency = space.latency
    if space.quality is not None and measured[DENSE].ok:
        return Budgeted(measured[DENSE].median_ms, 1.0, jobs[DENSE])
    if latency.ms is not None:
        there = measured[DENSE].ok
        return Budgeted(
            latency.ms, None, jobs[DENSE] if there else None, measured[DENSE].median_ms if there else None
        )
    name = ROW_OF[latency.reference]
    reference = measured[name]
    if not reference.ok:
        raise ConfigError(
            f"{space.name}: latency.reference: {latency.reference!r} could not be measured ({reference.error}); "
            'install it (pip install "l0compile[bench]"), or set latency.ms, or reference = "l0compile", the compiled '
            "dense model"
        )
    return Budgeted(latency.in_ms(reference.median_ms), latency.ratio, jobs[name])


_NEEDS = dict.fromkeys(READ_ONNX, ("onnx", "onnxscript"))


def check_reference(space: Space) -> None:
    """Raise MissingDependency where the budget's reference needs a package that is not there: before anything is
    compiled or measured, which would all be for nothing."""
    engine = space.latency.reference
    if space.latency.ratio is None or engine not in _NEEDS:
        return
    missing = [name for name in (engine, *_NEEDS[engine]) if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            f"{space.name}: latency.reference: {engine!r} needs {', '.join(missing)}; run: pip install "
            f'{" ".join(missing)}, or set latency.ms, or reference = "l0compile", the compiled dense model'
        )
