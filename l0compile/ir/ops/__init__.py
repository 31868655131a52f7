"""The operators of namespace ``l0compile``; the PyTorch implementation of each is its reference."""

from l0compile.ir.ops import attention as attention
from l0compile.ir.ops import bag as bag
from l0compile.ir.ops import bfloat16 as bfloat16
from l0compile.ir.ops import bsr as bsr
from l0compile.ir.ops import computed as computed
from l0compile.ir.ops import conv as conv
from l0compile.ir.ops import dense as dense
from l0compile.ir.ops import gate as gate
from l0compile.ir.ops import int8_conv as int8_conv
from l0compile.ir.ops import norm as norm
from l0compile.ir.ops import packed as packed
from l0compile.ir.ops import planes as planes
from l0compile.ir.ops import quantized as quantized
from l0compile.ir.ops import rope as rope
from l0compile.ir.ops import rows as rows
from l0compile.ir.ops import two_of_four as two_of_four
from l0compile.ir.ops import winograd as winograd
from l0compile.ir.ops import word_planes as word_planes
from l0compile.ir.ops.attention import packed_block as packed_block
