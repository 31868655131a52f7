"""The compiled dense model as a yardstick: every model is measured beside it, and so is the engine of the budget."""

from dataclasses import dataclass, field

from l0compile.hardware.statistics import Ratio, paired_ratio
from l0compile.measurement import Measurement
from l0compile.measurement.stopwatch import Job


@dataclass
class Yardstick:
    """Compares an engine of others with our dense model, better with each measurement.

    Other programs slow engines down by different factors. On a shared machine OpenVINO's int8 takes 5.9 to 8.8 ms from
    one minute to the next, a model of ours 4.9 to 5.7 and our dense one 13.5 to 14.5: compared with OpenVINO in one
    minute each, the same model would be too slow and much too fast. So models are compared with the dense one in the
    same blocks, and the dense one with OpenVINO over all minutes so far.

    job: of timing the dense model. reference_ms, own_ms: what blocks took in the engine and in ours, side by side.
    """

    job: Job
    reference_ms: list[float] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)

    def add(self, reference: Measurement, own: Measurement) -> None:
        """Learn from blocks that ran side by side, unless one of them failed."""
        if reference.ok and own.ok:
            self.reference_ms += reference.block_ms
            self.own_ms += own.block_ms

    def times(self) -> Ratio:
        """Return how many times faster than the engine our dense model is."""
        return paired_ratio(self.reference_ms, self.own_ms)
