"""LayerNorm and RMSNorm of rows on a GPU (oracles: the operators of ``l0compile.ir.ops.norm``).

One block of threads normalises one row. Its numbers stay in registers between the passes over them, so the row is read
from memory once; sums are float32 for all types, first within a thread, then within a warp, then over warps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.hardware.targets import Target
from l0compile.ir.nodes import arguments, is_static, shape
from l0compile.kernels.cpu.lanes import body, kernel, local, param, store, symbol
from l0compile.kernels.cuda import ptx
from l0compile.kernels.definition import KernelCall, KernelDef, given
from l0compile.kernels.tir import TB, tirx

_WARP = 32
_MOST_THREADS = 1024
_NUMBERS = 8  # of a thread, from which more threads share a row
_TYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class CudaNormSpec:
    """LayerNorm or RMSNorm of a vector, at the channels of it that are left; ir/ops/norm.py has the formulas.

    Attributes:
        features: channels that are left.
        eps: added to the variance.
        centred: LayerNorm; else RMSNorm.
        weight: there is a weight.
        bias: there is a bias.
        width: channels of the whole vector.
        removed_mean: mean of the width - features other channels.
        removed_squares: sum of their squares, taken from their mean when ``centred``.
        dtype: of all tensors.
        wide_weight: but the weight is float32.
        scale: the result is rounded, and then multiplied by a vector.
    """

    features: int
    eps: float
    centred: bool
    weight: bool
    bias: bool
    width: int
    removed_mean: float = 0.0
    removed_squares: float = 0.0
    dtype: str = "float32"
    wide_weight: bool = False
    scale: bool = False

    @property
    def threads(self) -> int:
        """Threads of a block: a power of two of warps, until each has few numbers."""
        threads = _WARP
        while threads < _MOST_THREADS and self.features > _NUMBERS * threads:
            threads *= 2
        return threads


def cuda_norm(spec: CudaNormSpec, _: Target | None = None) -> Any:
    """PrimFunc(x [M, features], weight, bias, scale, y [M, features]); M is symbolic."""
    threads, numbers = spec.threads, -(-spec.features // spec.threads)
    with kernel("norm") as builder:
        rows = symbol("rows")
        x = param("x", (rows, spec.features), spec.dtype)
        of_weight = "float32" if spec.wide_weight else spec.dtype
        weight = param("weight", (spec.features,), of_weight) if spec.weight else None
        bias = param("bias", (spec.features,), spec.dtype) if spec.bias else None
        factor = param("scale", (spec.features,), spec.dtype) if spec.scale else None
        y = param("y", (rows, spec.features), spec.dtype)
        with (
            body(),
            TB.launch_thread("blockIdx.x", rows) as row,
            TB.launch_thread("threadIdx.x", threads) as thread,
        ):
            own = _NormRow(spec, thread, numbers, local((numbers,)))
            own.load(x, row)
            mean = own.mean() if spec.centred else None
            own.write(y, row, mean, own.scale(mean), weight, bias, factor)
    return builder.get()


@dataclass(frozen=True)
class _NormRow:
    """What a thread knows of its row: every ``threads``-th number of it, in registers."""

    spec: CudaNormSpec
    thread: Any
    numbers: int
    values: Any

    def load(self, x: Any, row: Any) -> None:
        self._each(lambda i, at: store(self.values, _wide(x[row, at]), i))

    def mean(self) -> Any:
        removed = (self.spec.width - self.spec.features) * self.spec.removed_mean
        total = self._total(lambda value: value, "mean")
        return _held((total + _number(removed)) * _number(1 / self.spec.width))

    def scale(self, mean: Any) -> Any:
        """1 / sqrt(variance + eps)."""
        spec, more = self.spec, _number(self.spec.removed_squares)
        if mean is not None:
            away = _number(spec.removed_mean) - mean
            more = more + _number(spec.width - spec.features) * away * away

        def square(value: Any) -> Any:
            apart = value if mean is None else value - mean
            return apart * apart

        total = self._total(square, "squares")
        return _held(_number(1) / tirx.sqrt((total + more) * _number(1 / spec.width) + _number(spec.eps)))

    def write(self, y: Any, row: Any, mean: Any, scale: Any, weight: Any, bias: Any, factor: Any) -> None:
        def put(i: Any, at: Any) -> None:
            value = self.values[i] if mean is None else self.values[i] - mean
            value = value * scale
            value = value if weight is None else value * _wide(weight[at])
            value = value if bias is None else value + _wide(bias[at])
            dtype = self.spec.dtype
            if factor is not None:
                value = ptx.kept(ptx.widened(ptx.rounded(value, dtype), dtype), "float32") * _wide(factor[at])
            store(y, value if dtype == "float32" else tirx.Cast(dtype, value), row, at)

        self._each(put)

    def _each(self, do: Callable[[Any, Any], None]) -> None:
        """``do(number of the register, place in the row)`` for each number of this thread."""
        threads, features = self.spec.threads, self.spec.features
        with TB.unroll(0, self.numbers) as i:
            at = tirx.Cast("int64", i) * threads + self.thread
            if features % threads:
                with TB.If(at < features), TB.Then():
                    do(i, at)
            else:
                do(i, at)

    def _total(self, term: Callable[[Any], Any], name: str) -> Any:
        """The sum of ``term(number)`` over the row, for every thread of it."""
        own = local((1,))
        store(own, _number(0), 0)
        self._each(lambda i, _: store(own, own[0] + term(self.values[i]), 0))
        for apart in (16, 8, 4, 2, 1):
            store(own, own[0] + _from_lane(own[0], apart), 0)
        warps = self.spec.threads // _WARP
        if warps == 1:
            return own[0]
        shared = TB.alloc_buffer((warps,), "float32", scope="shared", layout=None)
        with TB.If(tirx.EQ(tirx.floormod(self.thread, _WARP), 0)), TB.Then():
            store(shared, own[0], tirx.floordiv(self.thread, _WARP))
        TB.evaluate(tirx.call_intrin("void", "tirx.tvm_storage_sync", "shared"))
        store(own, shared[0], 0)
        with TB.unroll(1, warps) as warp:
            store(own, own[0] + shared[warp], 0)
        return own[0]


def _from_lane(value: Any, apart: int) -> Any:
    """``value`` of the lane of this warp whose number differs in the bit ``apart``; all lanes take part."""
    everyone = tirx.const(0xFFFFFFFF, "uint32")
    return tirx.call_intrin(
        "float32", "tirx.tvm_warp_shuffle_xor", everyone, value, apart, tirx.const(_WARP, "int32"), _WARP
    )


def _wide(value: Any) -> Any:
    return value if str(value.ty.dtype) == "float32" else tirx.Cast("float32", value)


def _number(value: float) -> Any:
    return tirx.const(float(value), "float32")


def _held(value: Any) -> Any:
    """A number in a register of its own, computed once."""
    register = local((1,))
    store(register, value, 0)
    return register[0]


def _call(node: fx.Node) -> KernelCall | None:
    own = arguments(node)
    x, weight, bias = own["x"], own["weight"], own.get("bias")
    dtype = str(x.meta["val"].dtype).removeprefix("torch.")
    features = shape(x)[-1]
    alike = all(part is None or part.meta["val"].dtype == x.meta["val"].dtype for part in (weight, bias))
    if dtype not in _TYPES or not is_static(features) or not alike or not math.isfinite(own["eps"]):
        return None
    centred = "removed_mean" in own
    spec = CudaNormSpec(
        features=int(features), eps=float(own["eps"]), centred=centred, weight=weight is not None,
        bias=bias is not None, width=int(own["width"]), removed_mean=float(own.get("removed_mean", 0.0)),
        removed_squares=float(own["removed_m2"] if centred else own["removed_square_sum"]), dtype=dtype,
    )  # fmt: skip
    return KernelCall(spec, given(x, weight, bias), rows_in=True, rows_out=True)


def _narrow_call(node: fx.Node) -> KernelCall | None:
    own = arguments(node)
    x, weight, scale = own["x"], own["weight"], own["scale"]
    dtype, features = str(x.meta["val"].dtype).removeprefix("torch."), shape(x)[-1]
    if dtype not in _TYPES or not is_static(features) or not math.isfinite(own["eps"]):
        return None
    spec = CudaNormSpec(
        features=int(features), eps=float(own["eps"]), centred=False, weight=weight is not None, bias=False,
        width=int(own["width"]), removed_squares=float(own["removed_square_sum"]), dtype=dtype, wide_weight=True,
        scale=scale is not None,
    )  # fmt: skip
    return KernelCall(spec, given(x, weight, scale), rows_in=True, rows_out=True)


CUDA_NORM = KernelDef(
    name="cuda_norm",
    calls={"compacted_layer_norm": _call, "compacted_rms_norm": _call, "narrow_rms_norm": _narrow_call},
    spec=CudaNormSpec,
    emit=cuda_norm,
    costs=None,
    dtypes=_TYPES,
    kind="cuda",
)
