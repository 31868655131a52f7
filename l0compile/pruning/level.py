"""One way to leave a layer: what an allocation chooses among."""

from dataclasses import dataclass

Shape = tuple[int, int]


@dataclass(frozen=True)
class Level:
    """One way to leave a layer, or the heads or neurons that it reads.

    block: shape of the blocks, or None for the layer as it is. number: the level on the path of that shape. density:
    the share of blocks left. loss: what the model loses. ms: the predicted time of the layer.
    """

    block: Shape | None
    number: int
    density: float
    loss: float
    ms: float
