"""How a latency was measured, or is to be: a value stored beside every result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l0compile.errors import ConfigError
from l0compile.ir.codec import decode, encode


@dataclass(frozen=True)
class Protocol:
    """Back-to-back calls in blocks, after a warm-up.

    Attributes:
        warmup_s: seconds of calls that are thrown away at the start: lazy set-up, clock speed, caches.
        blocks: number of independent blocks; the interval is over their medians.
        block_s: seconds of timed calls in a block.
        settle_s: untimed seconds, one call at least, before each block, so that it does not pay for what ran before
            it: another engine's caches and spinning threads.
        min_calls: timed calls of a block at least.
        percentile: which of its calls stands for a block: 50 is the median, 95 shows stragglers.
        threads: threads of the measured code; None leaves the library's own choice.
        flush_denormals: treat denormal numbers as zero, as a compiled model does.
        seed: of the bootstrap, which makes it repeatable.
        resamples: of the bootstrap.

    Raises:
        ConfigError: a value that nothing can be measured with.
    """

    warmup_s: float = 0.5
    blocks: int = 20
    block_s: float = 0.1
    settle_s: float = 0.02
    min_calls: int = 3
    percentile: float = 50.0
    threads: int | None = None
    flush_denormals: bool = True
    seed: int = 0
    resamples: int = 2000

    def __post_init__(self) -> None:
        for name in ("warmup_s", "block_s", "settle_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(
                    f"protocol: {name}: expected seconds of at least 0, got {getattr(self, name)!r}"
                )
        for name in ("blocks", "min_calls", "resamples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"protocol: {name}: expected at least 1, got {getattr(self, name)!r}")
        if not 0 <= self.percentile <= 100:
            raise ConfigError(f"protocol: percentile: expected 0 to 100, got {self.percentile!r}")
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"protocol: threads: expected None or at least 1, got {self.threads!r}")

    @classmethod
    def quick(cls, threads: int | None = None) -> "Protocol":
        """Take half a second: enough to rank candidates within a search, too little to publish."""
        return cls(warmup_s=0.1, blocks=8, block_s=0.04, settle_s=0.005, threads=threads)

    @classmethod
    def careful(cls, threads: int | None = None) -> "Protocol":
        """Take two seconds: enough to tell whether a model is within its budget."""
        return cls(warmup_s=0.2, blocks=16, block_s=0.08, settle_s=0.01, threads=threads)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as JSON values."""
        found: dict[str, Any] = encode(self)
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Protocol":
        """Return the protocol that ``to_dict`` wrote; keys may be missing.

        Raises:
            ConfigError: an unknown key, or a value that cannot be measured with.
        """
        return decode(data, cls, "protocol", ConfigError)
