"""ATen operators outside our kernels: which can be lowered, and by which conversion.

The conversions are all ours. TVM's importer of PyTorch operators computed wrong numbers in silence too often (a
negative index, ``alpha``, integer division, NaN), so an operator without an entry here is refused, not handed on.
"""

import operator
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import fx

from l0compile.errors import BuildError
from l0compile.lower.aten.creation import CREATION
from l0compile.lower.aten.elementwise import ELEMENTWISE
from l0compile.lower.aten.indexing import INDEXING
from l0compile.lower.aten.moving import MOVING
from l0compile.lower.aten.operands import Lowering
from l0compile.lower.aten.pointwise import Conversion
from l0compile.lower.aten.pooling import POOLING
from l0compile.lower.aten.products import PRODUCTS
from l0compile.lower.aten.reductions import REDUCTIONS
from l0compile.lower.aten.shaping import SHAPING, piece_of

CONVERSIONS: Mapping[Any, Conversion] = MappingProxyType({
    **CREATION, **ELEMENTWISE, **INDEXING, **MOVING, **POOLING, **PRODUCTS, **REDUCTIONS, **SHAPING,
    operator.getitem: piece_of,
})  # fmt: skip


def supported() -> tuple[str, ...]:
    """Names of the ATen operators that can be lowered."""
    return tuple(sorted(str(target) for target in CONVERSIONS if target is not operator.getitem))


def convert_ordinary(node: fx.Node, low: Lowering) -> Any:
    """The relax expression for ``node``, or a tuple of them.

    Raises: BuildError when there is no conversion, or not for these arguments.
    """
    convert = CONVERSIONS.get(node.target)
    if convert is None:
        raise BuildError(
            f"{node.name}: no kernel and no lowering for operator {node.target}; "
            "replace it in the model, or compile the part of the model without it"
        )
    return convert(node, low)
