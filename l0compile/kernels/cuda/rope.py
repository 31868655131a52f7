"""Rotary position embedding of rows on a GPU (oracle: ``l0compile::rope``).

A thread turns some neighbouring pairs of one head of one token, as many as one load brings. Products and their sum are
rounded one by one, as operators of PyTorch round them: in narrow numbers the result is the operator's, bit by bit.
"""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware.targets import Target
from l0compile.ir.nodes import arguments, is_static, same_size, shape
from l0compile.kernels.cpu.lanes import Expr, body, kernel, param, store, symbol
from l0compile.kernels.cuda import ptx
from l0compile.kernels.cuda.architecture import has_ampere_instructions
from l0compile.kernels.cuda.linear.numbers import RowPointer, load_numbers, row_of, store_numbers
from l0compile.kernels.cuda.linear.tensors import piece
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.tir import TB, tirx

_THREADS = 128
_TYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class CudaRopeSpec:
    """Turn pairs of features of each head by an angle per token.

    Attributes:
        heads: heads side by side.
        dim: features of a head.
        dtype: of all tensors.
        interleaved: a pair is two neighbours, with one angle, instead of the same place in both halves of a head.
        shared: all sequences have the same angles.
    """

    heads: int
    dim: int
    dtype: str = "float32"
    interleaved: bool = False
    shared: bool = True

    @property
    def half(self) -> int:
        """Pairs of a head."""
        return self.dim // 2

    @property
    def pairs(self) -> int:
        """Pairs of a thread."""
        return piece(self.dtype, self.half)


def cuda_rope(spec: CudaRopeSpec, target: Target) -> Any:
    """PrimFunc(x, cos, sin, y): x, y [B, S, heads * dim]; cos, sin [B or 1, S, angles]; B and S are symbolic.

    Raises:
        BuildError: the target does not convert bfloat16.
    """
    if spec.dtype == "bfloat16" and not has_ampere_instructions(target):
        raise BuildError(f"cuda rope: expected sm_80 or later for bfloat16, got {target.cpu}; take float16")
    with kernel("rope") as builder:
        batch, tokens = symbol("batch"), symbol("tokens")
        angles = spec.half if spec.interleaved else spec.dim
        x = param("x", (batch, tokens, spec.heads * spec.dim), spec.dtype)
        table = (1 if spec.shared else batch, tokens, angles)
        cos, sin = (param(name, table, spec.dtype) for name in ("cos", "sin"))
        y = param("y", (batch, tokens, spec.heads * spec.dim), spec.dtype)
        parts = spec.half // spec.pairs
        items = batch * tokens * (spec.heads * parts)
        with (
            body(),
            TB.launch_thread("blockIdx.x", (items + (_THREADS - 1)) // _THREADS) as block,
            TB.launch_thread("threadIdx.x", _THREADS) as thread,
        ):
            item = ptx.kept(TB.cast(block, "int64") * _THREADS + thread, "int64")
            with TB.If(item < items), TB.Then():
                # None of these is negative, so that division may cut.
                row = ptx.kept(tirx.truncdiv(item, spec.heads * parts), "int64")
                sequence, token = (ptx.kept(cut(row, tokens), "int64") for cut in _cuts())
                rest = ptx.kept(TB.cast(tirx.truncmod(item, spec.heads * parts), "int32"))
                head, part = (ptx.kept(cut(rest, parts)) for cut in _cuts())
                pair = ptx.kept(part * spec.pairs)
                own = _RopeThread(spec, head * spec.dim, pair, has_ampere_instructions(target))
                rows = [row_of(table, 0 if spec.shared else sequence, token) for table in (cos, sin)]
                own.emit(row_of(x, sequence, token), rows[0], rows[1], row_of(y, sequence, token))
    return builder.get()


def _cuts() -> tuple[Any, Any]:
    return tirx.truncdiv, tirx.truncmod


@dataclass(frozen=True)
class _RopeThread:
    """What one thread does: ``pairs`` pairs of a head of a token.

    Attributes:
        start: the head's first feature in a row.
        pair: the first pair.
        both: there are instructions that round two numbers.
    """

    spec: CudaRopeSpec
    start: Expr
    pair: Expr
    both: bool

    def emit(self, x: RowPointer, cos: RowPointer, sin: RowPointer, y: RowPointer) -> None:
        """x * cos + (-high, low) * sin -> y."""
        low, high = self._read(x, self.start)
        cos_low, cos_high = self._angles(cos)
        sin_low, sin_high = self._angles(sin)
        new_low, new_high = (ptx.registers(self.spec.pairs, "float32") for _ in range(2))
        for i in range(self.spec.pairs):
            a, b = low[i], high[i]
            store(new_low, self._rounded(a * cos_low[i]) - self._rounded(b * sin_low[i]), i)
            store(new_high, self._rounded(b * cos_high[i]) + self._rounded(a * sin_high[i]), i)
        self._write(y, new_low, new_high)

    def _angles(self, table: RowPointer) -> tuple[Any, Any]:
        """Of the first and of the second of each pair."""
        if not self.spec.interleaved:
            return self._read(table, 0)
        values = self._loaded(table, 0, self.pair, self.spec.pairs, self.spec.half)
        return values, values

    def _read(self, row: RowPointer, start: Expr) -> tuple[Any, Any]:
        """The first and the second of each pair of a head that begins at ``start``."""
        spec = self.spec
        if spec.interleaved:
            both = self._loaded(row, start, 2 * self.pair, 2 * spec.pairs, spec.dim)
            return [both[2 * i] for i in range(spec.pairs)], [both[2 * i + 1] for i in range(spec.pairs)]
        low, high = (self._loaded(row, start + at, self.pair, spec.pairs, spec.half) for at in (0, spec.half))
        return low, high

    def _loaded(self, row: RowPointer, start: Expr, column: Expr, count: int, n: int) -> Any:
        """``count`` numbers from ``column`` on, of the n that begin at ``start``."""
        values = ptx.registers(count, "float32")
        load_numbers(values, _from(row, start), column, count, n, self.spec.dtype)
        return values

    def _write(self, y: RowPointer, low: Any, high: Any) -> None:
        spec = self.spec
        if not spec.interleaved:
            for at, values in ((0, low), (spec.half, high)):
                row = _from(y, self.start + at)
                store_numbers(values, row, self.pair, spec.pairs, spec.half, spec.dtype, self.both)
            return
        values = ptx.registers(2 * spec.pairs, "float32")
        for i in range(spec.pairs):
            store(values, low[i], 2 * i)
            store(values, high[i], 2 * i + 1)
        row = _from(y, self.start)
        store_numbers(values, row, 2 * self.pair, 2 * spec.pairs, spec.dim, spec.dtype, self.both)

    def _rounded(self, product: Expr) -> Expr:
        if self.spec.dtype == "float32":
            return product
        return ptx.kept(ptx.widened(ptx.rounded(product, self.spec.dtype), self.spec.dtype), "float32")


def _from(row: RowPointer, start: Expr) -> RowPointer:
    return lambda column: row(start + column)


def _call(node: fx.Node) -> KernelCall | None:
    own = arguments(node)
    x, cos, sin, heads = own["x"], own["cos"], own["sin"], own["heads"]
    dtype = str(x.meta["val"].dtype).removeprefix("torch.")
    alike = all(table.meta["val"].dtype == x.meta["val"].dtype for table in (cos, sin))
    batches = {same_size(shape(table)[0], 1) for table in (cos, sin)}
    if dtype not in _TYPES or not alike or not is_static(shape(x)[2]) or len(batches) != 1:
        return None
    spec = CudaRopeSpec(heads, int(shape(x)[2]) // heads, dtype, own["interleaved"], batches.pop())
    return KernelCall(spec, (x, cos, sin))


CUDA_ROPE = KernelDef(
    name="cuda_rope",
    calls={"rope": _call},
    spec=CudaRopeSpec,
    emit=cuda_rope,
    costs=None,
    dtypes=_TYPES,
    kind="cuda",
)
