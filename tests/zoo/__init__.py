"""Models of every common family at small sizes with random weights, and the zeros to put into them.

``MODELS`` maps name -> :class:`ZooModel`; ``prune`` puts structured or block zeros into one; ``compare`` measures how
far two results are apart. Nothing is downloaded.
"""

from tests.zoo import (
    convnets,
    decoders,
    dense_nets,
    detectors,
    encoders,
    graph_nets,
    mixers,
    mobile_nets,
    sequence_to_sequence,
    sequences,
    vision,
    vocoders,
)
from tests.zoo.compare import compare as compare
from tests.zoo.model import ZooModel
from tests.zoo.prune import prune as prune

_FAMILIES = (
    encoders,
    decoders,
    sequence_to_sequence,
    vision,
    convnets,
    mobile_nets,
    dense_nets,
    mixers,
    graph_nets,
    sequences,
    detectors,
    vocoders,
)

MODELS: dict[str, ZooModel] = {model.name: model for family in _FAMILIES for model in family.MODELS}
