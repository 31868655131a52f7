"""The conversions of all ATen operators that have no kernel.

All conversions are our own. TVM's importer of PyTorch operators too often computes wrong numbers without a message (for
negative indices, ``alpha``, integer division, NaN), so an operator without an entry here is refused.
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
from l0compile.lower.aten.lowering import Conversion, Lowering
from l0compile.lower.aten.matmul_conv import MATMUL_CONV
from l0compile.lower.aten.pad_roll import PAD_ROLL
from l0compile.lower.aten.pooling import POOLING
from l0compile.lower.aten.reductions import REDUCTIONS
from l0compile.lower.aten.views_joins import VIEWS_JOINS, tuple_item

CONVERSIONS: Mapping[Any, Conversion] = MappingProxyType({
    **CREATION, **ELEMENTWISE, **INDEXING, **PAD_ROLL, **POOLING, **MATMUL_CONV, **REDUCTIONS, **VIEWS_JOINS,
    operator.getitem: tuple_item,
})  # fmt: skip


def convert_aten(node: fx.Node, low: Lowering) -> Any:
    """Convert ``node`` to a relax expression, or a tuple of them.

    Raises:
        BuildError: The operator has no conversion, or none for these arguments.
    """
    convert = CONVERSIONS.get(node.target)
    if convert is None:
        raise BuildError(
            f"{node.name}: no kernel and no lowering for operator {node.target}; "
            "replace it in the model, or compile the part of the model without it"
        )
    return convert(node, low)
