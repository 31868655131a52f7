"""Attention: of all keys, and of those that a row program lists."""

from l0compile.ir.ops.attention import block as block
from l0compile.ir.ops.attention import capped as capped
from l0compile.ir.ops.attention import multi_head as multi_head
from l0compile.ir.ops.attention import vertical_slash as vertical_slash
