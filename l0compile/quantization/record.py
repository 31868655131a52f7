"""What became of each layer of a quantised model that could be narrow."""

from dataclasses import dataclass
from math import nan


@dataclass(frozen=True)
class LayerPrecision:
    """The precision of one layer, and why.

    Attributes:
        name: of the layer in its model, ``"encoder.layer.0.output.dense"``; empty if the model is the layer.
        precision: ``"int8"``, ``"bfloat16"`` or ``"float32"``.
        error: sum of squared changes of the layer's outputs in the narrow precision, as a share of the sum of squared
            outputs (bias left out), on inputs of the calibration; nan if the layer saw none.
        reason: why it has this precision, in words.
    """

    name: str
    precision: str
    error: float = nan
    reason: str = ""
