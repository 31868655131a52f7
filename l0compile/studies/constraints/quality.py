"""The quality target of a space: the table ``[quality]``, instead of a latency budget."""

from dataclasses import dataclass
from typing import Annotated

from torch import nn

from l0compile.ir.codec import Meta
from l0compile.studies.constraints.constraint import Chosen
from l0compile.studies.pruning.bounds import Bound
from l0compile.studies.result import Requirement


@dataclass(frozen=True)
class QualityTarget:
    """The chosen model loses at most the share ``drop`` of the dense model's quality, and is as fast as possible."""

    drop: Annotated[float, Meta(ge=1e-6, le=1.0)]
    kind = "quality"

    def least(self, dense: float) -> float:
        """Return the lowest quality allowed, given the dense model's."""
        return dense - self.drop * abs(dense)

    def plan(self, dense: nn.Module, layers: tuple[str, ...]) -> Bound | None:
        """Return None: training changes the quality, so it can't be predicted from an allocation."""
        return None

    def measure(self, chosen: Chosen) -> float:
        """Return the quality on held-out data."""
        return chosen.quality

    def verdict(self, found: float, chosen: Chosen) -> Requirement:
        """Compare the quality with the target."""
        least = self.least(chosen.dense_quality)
        what = f"quality of at least {least:.4g}, of {chosen.dense_quality:.4g} of the dense model"
        return Requirement(what, f"{found:.4f} on held-out data", found >= least, self.kind)
