"""Where each measured model stands in latency and quality, all in one unit.

The unit is milliseconds, or a share of the reference engine's latency where the budget is such a share. Each share was
measured side by side with that engine: milliseconds of different minutes do not compare. The chosen candidate stands
where its trained and compiled model does in the final table.
"""

from dataclasses import dataclass

from l0compile.measurement import Ratio
from l0compile.report.candidates import measured
from l0compile.studies.result import Candidate, Latency, Row, SearchResult


@dataclass(frozen=True)
class Standing:
    """A candidate with its latency and quality.

    Attributes:
        item: The candidate.
        at: Its latency, with the interval.
        quality: Its quality.
        final: Whether latency and quality are those of the final table.
    """

    item: Candidate
    at: Ratio
    quality: float
    final: bool = False


@dataclass(frozen=True)
class Standings:
    """Candidates and dense engines in one unit of latency.

    Attributes:
        candidates: In order of latency.
        engines: The dense ones, the quickest first.
        budget: The latency budget.
        title: Name of the axis.
        unit: What follows a number, such as " ms".
        word: What stands before one: "predicted " where nothing was measured.
    """

    candidates: tuple[Standing, ...]
    engines: tuple[tuple[Row, Ratio], ...]
    budget: float | None
    title: str
    unit: str
    word: str = ""

    @property
    def front(self) -> tuple[Standing, ...]:
        """The front that the search found, the chosen model included, without what another one of them beats."""

        def beats(one: Standing, other: Standing) -> bool:
            quick, good = one.at.value <= other.at.value, one.quality >= other.quality
            return one is not other and quick and good and (one.at, one.quality) != (other.at, other.quality)

        mine = [one for one in self.candidates if one.item.front or (one.final and one.item.chosen)]
        return tuple(one for one in mine if not any(beats(other, one) for other in mine))

    def words(self, value: float) -> str:
        """Return the latency of a model in a few characters."""
        return f"{self.word}{self.plain(value)}"

    def plain(self, value: float) -> str:
        """Return a number with its unit."""
        return f"{value:.3g}{self.unit}"


def standings(result: SearchResult) -> Standings:
    """Return where the measured candidates and the dense engines of ``result`` stand."""
    final = next(
        (row for row in result.rows if not row.dense and row.latency and row.quality is not None), None
    )
    found = [c for c, _, _ in measured(result)]
    shares = result.budget_ratio is not None and all(c.load for c in found)
    shares = shares and (final is None or final.speedup is not None)
    candidates = [_standing(c, final if c.chosen else None, result, shares) for c in found]
    rows = [row for row in result.rows if row.dense and row.latency and (row.speedup or not shares)]
    engines = [(row, _at(row, shares)) for row in rows]
    word = "predicted " if result.predicted else ""
    return Standings(
        tuple(sorted(candidates, key=lambda one: (one.at.value, one.item.number))),
        tuple(sorted(engines, key=lambda pair: pair[1].value)),
        result.budget_ratio if shares else result.budget_ms,
        word + (f"latency over that of {result.reference}" if shares else "latency in ms"),
        "×" if shares else " ms",
        word,
    )


def _standing(item: Candidate, final: Row | None, result: SearchResult, shares: bool) -> Standing:
    if final is not None and final.quality is not None:
        return Standing(item, _at(final, shares), final.quality, final=True)
    quality = item.quality or 0.0
    if item.load is not None and shares and result.budget_ratio is not None:
        return Standing(item, _scaled(item.load, result.budget_ratio), quality)
    if item.load is not None and result.budget_ms is not None:
        return Standing(item, _scaled(item.load, result.budget_ms), quality)
    return Standing(item, _span(item.latency), quality)


def _at(row: Row, shares: bool) -> Ratio:
    if shares and row.speedup is not None:
        return Ratio(1 / row.speedup.value, 1 / row.speedup.high, 1 / row.speedup.low)
    return _span(row.latency)


def _span(latency: Latency | None) -> Ratio:
    assert latency is not None  # the caller has kept only what was measured
    return Ratio(latency.median_ms, latency.low_ms, latency.high_ms)


def _scaled(load: Ratio, unit: float) -> Ratio:
    return Ratio(unit * load.value, unit * load.low, unit * load.high)
