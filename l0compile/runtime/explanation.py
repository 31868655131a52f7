"""What was done to a model and why, as data that prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_COLUMNS = ("region", "kind", "before", "after", "density", "format", "block", "reason")


@dataclass(frozen=True)
class RegionReport:
    """One layer: shapes before and after compaction, density of the captured weight (0..1), format, block, reason."""

    name: str
    kind: str
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    density: float
    format: str
    block: tuple[int, int] | None
    reason: str


@dataclass(frozen=True)
class Explanation:
    """Regions in the order of the model, passes with their counts and seconds, and the equality check's result.

    verification: ``checked`` and, if so, ``max_difference`` relative to the largest reference value, ``tolerance``,
    ``inputs`` (number of example inputs compared). ordinary: operators that run outside our kernels, with counts.
    """

    regions: tuple[RegionReport, ...]
    passes: tuple[tuple[str, int, float], ...]
    verification: Mapping[str, Any]
    ordinary: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "regions": [asdict(region) for region in self.regions],
            "passes": [list(record) for record in self.passes],
            "verification": dict(self.verification),
            "ordinary": dict(self.ordinary),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Explanation":
        """The explanation that ``to_json`` wrote."""
        regions = tuple(_region(item) for item in record["regions"])
        passes = tuple(
            (str(name), int(changed), float(seconds)) for name, changed, seconds in record["passes"]
        )
        return cls(regions, passes, dict(record["verification"]), dict(record["ordinary"]))

    def __str__(self) -> str:
        rows = [_COLUMNS, *(_row(region) for region in self.regions)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS) - 1)]
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows
        ]
        if self.verification.get("checked"):
            lines.append(
                f"checked: compiled = gated within {self.verification['max_difference']:.1e} of the largest value "
                f"on {self.verification['inputs']} inputs (tolerance {self.verification['tolerance']:.0e})"
            )
        return "\n".join(lines)


def _region(item: Mapping[str, Any]) -> RegionReport:
    fields = dict(item)
    for key in ("shape_before", "shape_after", "block"):
        fields[key] = tuple(fields[key]) if fields[key] is not None else None
    return RegionReport(**fields)


def _row(r: RegionReport) -> tuple[str, ...]:
    def shape(s: tuple[int, ...] | None) -> str:
        return "x".join(map(str, s)) if s else "-"

    return (
        r.name,
        r.kind,
        shape(r.shape_before),
        shape(r.shape_after),
        f"{r.density:.2f}",
        r.format,
        shape(r.block),
        r.reason,
    )
