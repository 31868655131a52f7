"""One way to leave a layer: what a plan chooses among."""

from dataclasses import dataclass

Shape = tuple[int, int]


@dataclass(frozen=True)
class Level:
    """One way to leave a layer, or the heads or neurons that it reads.

    block: shape; None: as it is. number: level of the path of that shape. density: share of its blocks left.
    loss: that the model has by it. ms: what the layer then takes.
    """

    block: Shape | None
    number: int
    density: float
    loss: float
    ms: float
