"""What was done to a model and why, as data that prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from l0compile.records import PassRecord, Region

_COLUMNS = ("region", "kind", "before", "after", "density", "format", "block", "reason")


@dataclass(frozen=True)
class Explanation:
    """Regions in the order of the model, passes with their counts and seconds, and the equality check's result.

    verification: ``checked`` and, if so, ``max_difference`` relative to the largest reference value, ``tolerance``,
    ``inputs`` (number of example inputs compared). ordinary: operators that run outside our kernels, with counts.
    """

    regions: tuple[Region, ...]
    passes: tuple[PassRecord, ...]
    verification: Mapping[str, Any]
    ordinary: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "regions": [asdict(region) for region in self.regions],
            "passes": [asdict(record) for record in self.passes],
            "verification": dict(self.verification),
            "ordinary": dict(self.ordinary),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Explanation":
        """The explanation that ``to_json`` wrote."""
        regions = tuple(Region.from_json(item) for item in record["regions"])
        passes = tuple(PassRecord(**item) for item in record["passes"])
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


def _row(r: Region) -> tuple[str, ...]:
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
