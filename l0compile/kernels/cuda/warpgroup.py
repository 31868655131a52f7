"""PTX instructions of a warpgroup, four warps that multiply together (``wgmma``); sm_90a only.

Products are asynchronous: ``mma`` begins one, ``commit`` makes a group of those begun since the last, and ``wait``
waits for groups. Until then nothing may touch the sums, nor write what is read. Matrices are read from shared memory
past the generic proxy, by which all else is written: threads that wrote call ``show_writes`` before the barrier that
hands over.

Where a matrix lies is told by a descriptor. Its rows are 32, 64 or 128 bytes long, and 16 bytes of them change places
by the row ("swizzle"), as in ``SharedTile``; wider ones are several such panels. "K-major" is a matrix whose rows run
along k, "MN-major" one whose columns do.
"""

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx
from l0compile.kernels.tir import TB, tirx

THREADS = 128
"""Of a warpgroup."""
ROWS = 64
"""Of the sums of one product; warp i of the four has 16 from 16 i on."""
WIDEST_ROW = 128
"""Bytes of a row of a matrix in shared memory, or of a panel."""
ALIGNMENT = 8 * WIDEST_ROW
"""Bytes that the address of a matrix is a multiple of, for each swizzle."""

_SWIZZLES = {32: 3, 64: 2, 128: 1}
_TYPES = {"float16": "f16", "bfloat16": "bf16"}


def descriptor(address: Expr, row_bytes: int, panel_bytes: int = 16) -> Expr:
    """The descriptor (uint64) of a matrix whose swizzled rows lie one behind the other.

    Args:
        address: shared address of its first row, of which eight begin at a multiple of ``8 * row_bytes``; or, of a
            K-major one, of a later 32 bytes of that row.
        row_bytes: 32, 64 or 128.
        panel_bytes: from one panel of an MN-major matrix to the next; K-major ones and single panels don't use it.
    """
    stride = 8 * row_bytes  # to the next eight rows
    fixed = _SWIZZLES[row_bytes] << 62 | stride >> 4 << 32 | panel_bytes >> 4 << 16
    start = TB.cast(TB.shift_right(TB.cast(address, "uint32"), tirx.const(4, "uint32")), "uint64")
    return TB.bitwise_or(start, tirx.const(fixed, "uint64"))


def mma(dtype: str, outputs: int, transposed: bool, sums: Expr, a: Expr, b: Expr) -> None:
    """Begin sums += A B: 64 x ``outputs`` sums of float32, of 16 products each.

    Args:
        dtype: of A and B: "float16" or "bfloat16".
        outputs: columns of B, a multiple of 8 up to 256.
        transposed: B is MN-major, [k, outputs] in memory; else [outputs, k]. A is [64, k].
        sums: place of outputs / 2 registers, as those of ``ptx.mma`` for 16 rows and 8 columns, side by side.
        a, b: descriptors.
    """
    count, kind = outputs // 2, _TYPES[dtype]
    name = f"ptx_wgmma_n{outputs}_{dtype}" + ("_transposed" if transposed else "")
    form = f"wgmma.mma_async.sync.aligned.m64n{outputs}k16.f32.{kind}.{kind}"
    places = f"{ptx.braces(0, count)}, %{count}, %{count + 1}, p, 1, 1, 0, {int(transposed)}"
    instruction = f"{{ .reg .pred p; setp.ne.b32 p, 1, 0; {form} {places}; }}"
    outs = ", ".join(f'"+f"(sums[{i}])' for i in range(count))
    code = ptx.asm(instruction, outs, '"l"(a), "l"(b)', memory=False)
    ptx.call(name, f"void {name}(float* sums, unsigned long long a, unsigned long long b)", code, sums, a, b)


def fence() -> None:
    """What this warpgroup wrote to registers is there for the products that it begins next."""
    _do("fence", "wgmma.fence.sync.aligned;")


def commit() -> None:
    """What this warpgroup began since the last call is one group."""
    _do("commit", "wgmma.commit_group.sync.aligned;")


def wait(pending: int) -> None:
    """Wait for all groups of this warpgroup but the last ``pending``."""
    _do(f"wait_{pending}", f"wgmma.wait_group.sync.aligned {pending};")


def show_writes() -> None:
    """What this thread wrote to shared memory, or copied there and waited for, is there for products."""
    _do("show_writes", "fence.proxy.async.shared::cta;")


def _do(name: str, instruction: str) -> None:
    ptx.call(f"ptx_wgmma_{name}", f"void ptx_wgmma_{name}()", ptx.asm(instruction))
