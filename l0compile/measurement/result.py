"""The result of a measurement: raw samples, their summary, the protocol, and the error if there are no samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median
from typing import Any

import numpy as np

from l0compile.errors import DataError
from l0compile.hardware.statistics import bootstrap_interval
from l0compile.ir.codec import decode, encode
from l0compile.measurement.protocol import Protocol

# Beyond these a figure is flagged, not dropped: interval wider than this share of the median, or the last
# third of the run this much slower or faster than the first, or too few blocks for an interval to mean much.
NOISY_WIDTH = 0.05
NOISY_DRIFT = 0.05
FEWEST_BLOCKS = 5


@dataclass(frozen=True)
class Measurement:
    """Latency of one callable, in milliseconds.

    Attributes:
        samples_ms: every timed call in order.
        calls: how many of them each block holds.
        median_ms: median over the blocks of what stands for each (``Protocol.percentile`` of its calls).
        low_ms: lower end of the 95 % bootstrap interval of ``median_ms``.
        high_ms: upper end of it.
        drift: median of the last third of the blocks over that of the first; 1.0 is steady.
        noisy: the interval or the drift is too wide to quote.
        protocol: how it was measured.
        error: why there are no samples; all numbers are NaN then. None if there are some.
        predicted: nobody has measured it: an analytic model says so, and ``low_ms`` and ``high_ms`` are its band.
    """

    samples_ms: tuple[float, ...]
    calls: tuple[int, ...]
    median_ms: float
    low_ms: float
    high_ms: float
    drift: float
    noisy: bool
    protocol: Protocol
    error: str | None = None
    predicted: bool = False

    @classmethod
    def of_prediction(cls, low: float, mid: float, high: float, protocol: Protocol) -> "Measurement":
        """Put a predicted time where a measured one would be, marked as predicted.

        As many equal blocks as the fewest that mean something: the ratio of two predictions is known exactly.
        """
        blocks = (1,) * FEWEST_BLOCKS
        return cls((mid,) * FEWEST_BLOCKS, blocks, mid, low, high, 1.0, False, protocol, predicted=True)

    @classmethod
    def from_blocks(cls, blocks: Sequence[Sequence[float]], protocol: Protocol) -> "Measurement":
        """Summarise the milliseconds of calls, one inner sequence for each block.

        Raises:
            DataError: a block is empty, or there is none.
        """
        if not blocks or not all(blocks):
            raise DataError(
                f"measurement: expected at least one call in each block, got {[*map(len, blocks)]}"
            )
        medians = [float(np.percentile(block, protocol.percentile)) for block in blocks]
        middle = median(medians)
        low, high = bootstrap_interval(medians, protocol.resamples, protocol.seed)
        third = max(1, len(medians) // 3)
        drift = median(medians[-third:]) / median(medians[:third])
        noisy = (
            len(medians) < FEWEST_BLOCKS or high - low > NOISY_WIDTH * middle or abs(drift - 1) > NOISY_DRIFT
        )
        samples = tuple(float(sample) for block in blocks for sample in block)
        return cls(samples, tuple(map(len, blocks)), middle, low, high, drift, noisy, protocol)

    @classmethod
    def failed(cls, error: str, protocol: Protocol) -> "Measurement":
        """Return a measurement that could not be made, as data."""
        return cls(
            (),
            (),
            math.nan,
            math.nan,
            math.nan,
            math.nan,
            True,
            protocol,
            error or "failed without a message",
        )

    @property
    def ok(self) -> bool:
        """Whether there are samples."""
        return self.error is None

    @property
    def block_ms(self) -> tuple[float, ...]:
        """What stands for each block, in ms."""
        ends = [*accumulate(self.calls)]
        return tuple(
            float(np.percentile(self.samples_ms[end - count : end], self.protocol.percentile))
            for end, count in zip(ends, self.calls, strict=True)
        )

    def __str__(self) -> str:
        if self.error is not None:
            return f"failed: {self.error}"
        flag = ", noisy" if self.noisy else ""
        flag, word = ("", "predicted ") if self.predicted else (flag, "")
        return f"{word}{self.median_ms:.3f} ms [{self.low_ms:.3f}, {self.high_ms:.3f}]{flag}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON values; NaN becomes null, which JSON has."""
        found: dict[str, Any] = encode(self)
        return found if self.ok else {**found, **dict.fromkeys(_SUMMARY)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Measurement":
        """Return the measurement that ``to_dict`` wrote.

        Raises:
            StorageError: it is malformed.
        """
        summary = {name: math.nan for name in _SUMMARY if name in data and data[name] is None}
        return decode({**data, **summary}, cls, "measurement")


_SUMMARY = ("median_ms", "low_ms", "high_ms", "drift")
