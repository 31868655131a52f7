"""What a search reports while it runs."""

import time
from types import TracebackType
from typing import Any, Protocol

from l0compile.studies.result import Candidate


class SearchProgress(Protocol):
    """Hears of every step of a search."""

    def phase(self, text: str) -> None:
        """A phase begins."""

    def candidate(self, candidate: Candidate, best: Candidate | None) -> None:
        """A candidate is done; ``best`` is the best so far within the budget."""

    def note(self, text: str) -> None:
        """A fact worth a line."""


class Silent:
    """Ignores everything."""

    def phase(self, text: str) -> None:
        """Ignore it."""

    def candidate(self, candidate: Candidate, best: Candidate | None) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""


class Ledger:
    """Passes everything on, and adds up the seconds of each phase; a phase may come again."""

    def __init__(self, inner: SearchProgress) -> None:
        self._inner, self._begun = inner, time.monotonic()
        self._phase, self._spent = "setting up", dict[str, float]()

    def phase(self, text: str) -> None:
        self.close()
        self._phase = text.partition(":")[0]
        self._inner.phase(text)

    def candidate(self, candidate: Candidate, best: Candidate | None) -> None:
        self._inner.candidate(candidate, best)

    def note(self, text: str) -> None:
        self._inner.note(text)

    def close(self) -> dict[str, float]:
        """End the phase, and return the seconds of each so far."""
        now = time.monotonic()
        self._spent[self._phase] = self._spent.get(self._phase, 0.0) + now - self._begun
        self._begun = now
        return {phase: round(seconds, 1) for phase, seconds in self._spent.items()}


class RichProgress:
    """Prints a line for each candidate, and shows a bar with the phase, the best so far and the time left.

    Use it as a context manager.
    """

    def __init__(self, seconds: float) -> None:
        """Start the clock of a search that may take ``seconds``."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
        from rich.text import Text

        class Left(ProgressColumn):
            """The seconds left at each redraw."""

            def render(self, task: Any) -> Text:
                return Text(f"{max(0.0, seconds - (task.elapsed or 0.0)):.0f} s left")

        columns = (TextColumn("{task.description}"), BarColumn(), Left())
        self._start = time.monotonic()
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, get_time=time.monotonic)
        self._task = self._bar.add_task("starting", total=seconds)
        self._phase, self._best = "starting", ""

    def __enter__(self) -> "RichProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def phase(self, text: str) -> None:
        """Show the phase on the bar and as a line with the time at which it began."""
        self._phase = text
        self.note(text)

    def candidate(self, candidate: Candidate, best: Candidate | None) -> None:
        """Print a line for the candidate."""
        if best is not None and best.latency is not None and best.quality is not None:
            self._best = f"best {best.quality:.4f} in {best.latency.short}"
        self.note(f"  trial {candidate.number}: {describe(candidate)}")

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        from rich.markup import escape

        elapsed = time.monotonic() - self._start
        self._bar.print(f"[dim]{elapsed:5.0f} s[/dim]  {escape(text)}", highlight=False, soft_wrap=True)
        parts = " · ".join(filter(None, (self._phase, self._best)))
        self._bar.update(self._task, completed=elapsed, description=escape(parts))


def describe(candidate: Candidate) -> str:
    """Describe a candidate in one line: outcome, latency, quality, choices."""
    if candidate.error is not None:
        return f"{candidate.outcome}: {candidate.error}"
    latency = candidate.latency.short if candidate.latency else "not measured"
    quality = "–" if candidate.quality is None else f"{candidate.quality:.4f}"
    choices = ", ".join(f"{key} {value}" for key, value in candidate.choices.items())
    return f"{candidate.outcome}, {latency}, quality {quality} ({choices})"
