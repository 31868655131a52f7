"""The time of a search, and how its phases share it."""

import time
from dataclasses import dataclass, replace

# The winner trains for at least this share of the time, however long everything before took.
WINNER_AT_LEAST = 0.02
# A phase gets at least this share of the time that is left when it begins.
PHASE_AT_LEAST = 0.15


@dataclass(frozen=True)
class Clock:
    """When a search began and how long it may take.

    start: when the search began (`time.monotonic` seconds). seconds: that it may take. begun: when its set-up ended,
    with models measured and layers pruned. reserve_s: expected seconds for compiling the chosen model and the final
    table.
    """

    start: float
    seconds: float
    begun: float = 0.0
    reserve_s: float = 0.0

    def set_up(self, reserve_s: float) -> "Clock":
        """Return the clock of a search whose set-up ends now."""
        return replace(self, begun=time.monotonic(), reserve_s=reserve_s)

    @property
    def end(self) -> float:
        """The moment when everything has to be over."""
        return self.start + self.seconds

    def at(self, share: float) -> float:
        """Return the moment when ``share`` of the time between set-up and the final table is over."""
        begun = max(self.start, self.begun)
        return begun + share * max(0.0, self.end - self.reserve_s - begun)

    def until(self, share: float) -> float:
        """Return the moment until which a phase that begins now may run.

        That is ``at(share)``, or later if the phases before took longer than planned.
        """
        now = time.monotonic()
        return max(self.at(share), now + PHASE_AT_LEAST * max(0.0, self.at(1.0) - now))

    def winner_deadline(self) -> float:
        """Return the moment until which the winner may train."""
        return max(self.at(1.0), time.monotonic() + WINNER_AT_LEAST * self.seconds)
