"""Where everything that was measured stands, in one unit: shares of the reference's latency, or milliseconds.

A budget that is a share of an engine's latency is drawn in shares, each measured side by side with that engine: in
milliseconds points of different minutes would not compare. The chosen candidate stands where its trained and compiled
model does in the final table.
"""

from dataclasses import dataclass

from l0compile.measurement import Ratio
from l0compile.report.pages.fitted import measured
from l0compile.studies.result import Candidate, Latency, Row, SearchResult


@dataclass(frozen=True)
class Place:
    """A candidate. at: its latency; final: whether that and the quality are those of the final table."""

    item: Candidate
    at: Ratio
    quality: float
    final: bool = False


@dataclass(frozen=True)
class Places:
    """points: in order of latency. front: those that no other one beats. engines: dense ones, the quickest first.

    budget: in the same unit. title: of the axis; unit: after a number, as " ms".
    """

    points: tuple[Place, ...]
    engines: tuple[tuple[Row, Ratio], ...]
    budget: float | None
    title: str
    unit: str

    @property
    def front(self) -> tuple[Place, ...]:
        """What a search found on the front, the chosen model included, where nothing drawn here beats it."""

        def beats(one: Place, other: Place) -> bool:
            quick, good = one.at.value <= other.at.value, one.quality >= other.quality
            return one is not other and quick and good and (one.at, one.quality) != (other.at, other.quality)

        mine = [place for place in self.points if place.item.front or (place.final and place.item.chosen)]
        return tuple(place for place in mine if not any(beats(other, place) for other in mine))

    def words(self, value: float) -> str:
        """A latency in a few characters."""
        return f"{value:.3g}{self.unit}"


def places(result: SearchResult) -> Places:
    """Of everything in ``result`` that has a latency and a quality, and of its dense engines."""
    final = next(
        (row for row in result.rows if not row.dense and row.latency and row.quality is not None), None
    )
    found = [c for c, _, _ in measured(result)]
    shares = result.budget_ratio is not None and all(c.load for c in found)
    shares = shares and (final is None or final.speedup is not None)
    points = [_place(c, final if c.chosen else None, result, shares) for c in found]
    rows = [row for row in result.rows if row.dense and row.latency and (row.speedup or not shares)]
    engines = [(row, _at(row, shares)) for row in rows]
    return Places(
        tuple(sorted(points, key=lambda point: (point.at.value, point.item.number))),
        tuple(sorted(engines, key=lambda pair: pair[1].value)),
        result.budget_ratio if shares else result.budget_ms,
        f"latency over that of {result.reference}" if shares else "latency in ms",
        "×" if shares else " ms",
    )


def _place(item: Candidate, final: Row | None, result: SearchResult, shares: bool) -> Place:
    if final is not None and final.quality is not None:
        return Place(item, _at(final, shares), final.quality, final=True)
    quality = item.quality or 0.0
    if item.load is not None and shares and result.budget_ratio is not None:
        return Place(item, _scaled(item.load, result.budget_ratio), quality)
    if item.load is not None and result.budget_ms is not None:
        return Place(item, _scaled(item.load, result.budget_ms), quality)
    return Place(item, _span(item.latency), quality)


def _at(row: Row, shares: bool) -> Ratio:
    if shares and row.speedup is not None:
        return Ratio(1 / row.speedup.value, 1 / row.speedup.high, 1 / row.speedup.low)
    return _span(row.latency)


def _span(latency: Latency | None) -> Ratio:
    assert latency is not None  # of what was measured
    return Ratio(latency.median_ms, latency.low_ms, latency.high_ms)


def _scaled(load: Ratio, unit: float) -> Ratio:
    return Ratio(unit * load.value, unit * load.low, unit * load.high)
