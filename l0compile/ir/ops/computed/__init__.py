"""Operators on computed tensors alone: no operand of theirs is a weight."""

from l0compile.ir.ops.computed import product as product
from l0compile.ir.ops.computed import top_places as top_places
