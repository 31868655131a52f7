"""What was done to a model and why, as data that prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from l0compile.records import EngineChoice, Launch, PassRecord, Region, StageRecord
from l0compile.runtime.profile import Profile

_COLUMNS = ("region", "kind", "before", "after", "density", "format", "block", "reason")


@dataclass(frozen=True)
class Explanation:
    """Regions in the order of the model, passes with their counts and seconds, and the equality check's result.

    verification: ``checked`` and, if so, ``max_difference`` relative to the largest reference value, ``tolerance``,
    ``inputs`` (number of example inputs compared). ordinary: operators that run outside our kernels, with counts.
    stages: what each engine runs, in order. choice: which engine runs the whole, and the times that decided it.
    """

    regions: tuple[Region, ...]
    passes: tuple[PassRecord, ...]
    verification: Mapping[str, Any]
    ordinary: Mapping[str, int]
    stages: tuple[StageRecord, ...] = ()
    choice: EngineChoice | None = None
    launches: tuple[Launch, ...] = ()
    profile: Profile | None = None
    dense_profile: Profile | None = None

    @property
    def islands(self) -> tuple[StageRecord, ...]:
        """The stages that run in PyTorch."""
        return tuple(stage for stage in self.stages if stage.engine == "torch")

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return {
            "regions": [asdict(region) for region in self.regions],
            "passes": [asdict(record) for record in self.passes],
            "verification": dict(self.verification),
            "ordinary": dict(self.ordinary),
            "stages": [asdict(stage) for stage in self.stages],
            "choice": asdict(self.choice) if self.choice else None,
            "launches": [asdict(launch) for launch in self.launches],
            "profile": None if self.profile is None else self.profile.to_json(),
            "dense_profile": None if self.dense_profile is None else self.dense_profile.to_json(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Explanation":
        """The explanation that ``to_json`` wrote."""
        regions = tuple(Region.from_json(item) for item in record["regions"])
        passes = tuple(PassRecord(**item) for item in record["passes"])
        stages = tuple(StageRecord.from_json(item) for item in record["stages"])
        choice = EngineChoice(**record["choice"]) if record["choice"] else None
        verification, ordinary = dict(record["verification"]), dict(record["ordinary"])
        launches = tuple(Launch(**item) for item in record["launches"])
        profiles = [
            None if record[key] is None else Profile.from_json(record[key])
            for key in ("profile", "dense_profile")
        ]
        return cls(regions, passes, verification, ordinary, stages, choice, launches, *profiles)

    def __str__(self) -> str:
        rows = [_COLUMNS, *(_row(region) for region in self.regions)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS) - 1)]
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows
        ]
        if self.choice:
            lines.append(f"engine: {self.choice.engine}: {self.choice.reason}")
        lines += [line for number, stage in enumerate(self.islands) for line in _island(number, stage)]
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


def _island(number: int, stage: StageRecord) -> list[str]:
    lines = [f"island {number} in PyTorch, {len(stage.operators)} operators: {stage.reason}"]
    refused = [o for o in stage.operators if o.reason]
    return lines + [f"  {o.target} at {o.source}: {o.reason}" for o in refused]
