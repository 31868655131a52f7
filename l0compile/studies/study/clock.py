"""The time of a search."""

import time
from dataclasses import dataclass

# The winner trains at least this share of the time, even if everything before took longer than planned.
WINNER_AT_LEAST = 0.02
# A phase gets at least this share of what is left when it begins.
PHASE_AT_LEAST = 0.15


@dataclass
class Clock:
    """When a search began (`time.monotonic` seconds), how long it may take, and how that is shared out.

    begun: when it was set up, models measured and layers pruned; reserve_s: what compiling the chosen model and the
    final table are expected to take.
    """

    start: float
    seconds: float
    begun: float = 0.0
    reserve_s: float = 0.0

    def begin(self, reserve_s: float) -> None:
        """Set-up ends now."""
        self.begun, self.reserve_s = time.monotonic(), reserve_s

    @property
    def end(self) -> float:
        """When everything is to be over."""
        return self.start + self.seconds

    def at(self, share: float) -> float:
        """The moment at which `share` of the time between set-up and the final table is over."""
        begun = max(self.start, self.begun)
        return begun + share * max(0.0, self.end - self.reserve_s - begun)

    def until(self, share: float) -> float:
        """The moment until which a phase that begins now may run: that of ``at``, or, where those before it took
        longer than planned, a part of what is left."""
        now = time.monotonic()
        return max(self.at(share), now + PHASE_AT_LEAST * max(0.0, self.at(1.0) - now))

    def winner_deadline(self) -> float:
        """Until when the winner may train."""
        return max(self.at(1.0), time.monotonic() + WINNER_AT_LEAST * self.seconds)
