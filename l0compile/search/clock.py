"""The time of a search."""

import time
from dataclasses import dataclass

# The winner trains at least this share of the time, even if everything before took longer than planned.
WINNER_AT_LEAST = 0.1


@dataclass(frozen=True)
class Clock:
    """When a search began (`time.monotonic` seconds) and how long it may take."""

    start: float
    seconds: float

    def at(self, share: float) -> float:
        """The moment at which `share` of the time is over."""
        return self.start + share * self.seconds

    def winner_deadline(self, final_seconds: float) -> float:
        """Until when the winner may train if compiling and measuring it takes `final_seconds`."""
        return max(self.at(1.0) - final_seconds, time.monotonic() + WINNER_AT_LEAST * self.seconds)
