"""What a conversion of one operator needs: the relax values made so far, shapes and dtypes, and a way to emit code."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import TB, IRBuilder, relax, te, tirx
from l0compile.ir.nodes import same_size
from l0compile.lower.tvm.emit import emit_tensor
from l0compile.lower.tvm.symbols import Symbols

Index = tuple[Any, ...]

# A number that stands in the graph: of Python, or a size.
_NUMBERS = (bool, int, float)


@dataclass
class Lowering:
    """One translation in progress.

    Attributes:
        builder: the relax.BlockBuilder that code goes to.
        values: graph node -> relax expression of a tensor, TensorIR expression of a size, or tuple of these.
        symbols: the variables of symbolic sizes.
    """

    builder: Any
    values: dict[fx.Node, Any]
    symbols: Symbols

    def value(self, argument: Any) -> Any:
        """The relax or TensorIR value of a node argument; anything else is returned as it is."""
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def number(self, argument: Any) -> Any:
        """A Python number, or the TensorIR expression of a size. Raises BuildError for anything else."""
        value = self.value(argument)
        if isinstance(value, (*_NUMBERS, tirx.Expr)):
            return value
        if isinstance(value, torch.SymInt):
            return self.symbols.dimension(value)
        raise BuildError(f"expected a number or a size, got {argument!r}")

    def shape(self, node: fx.Node) -> list[Any]:
        """Sizes of a tensor node: ints, or TensorIR expressions where symbolic."""
        return self.symbols.shape(node.meta["val"].shape)

    def emit(self, function: Callable[..., Any], *operands: fx.Node, name: str) -> Any:
        """Emit the tensor expression ``function(*operands)``."""
        return self.emit_values(function, *map(self.value, operands), name=name)

    def emit_values(
        self, function: Callable[..., Any], *values: Any, name: str, by_hand: bool = False
    ) -> Any:
        """The same for relax values that belong to no node."""
        return emit_tensor(self.builder, self.symbols, function, values, name, by_hand)

    def compute(self, node: fx.Node, element: Callable[..., Any], *operands: fx.Node, name: str) -> Any:
        """Emit a tensor of ``node``'s shape and dtype with ``element(index, *operands)`` at each index."""
        shape, dtype = long(self.shape(node)), dtype_name(node.meta["val"].dtype)

        def function(*tensors: Any) -> Any:
            return te.compute(shape, lambda *i: cast(element(i, *tensors), dtype), name=name)

        return self.emit(function, *operands, name=name)

    def extern(self, node: fx.Node, body: Callable[..., None], *operands: fx.Node, name: str) -> Any:
        """Emit a tensor of ``node``'s shape and dtype that the statements of ``body(out, *operands)`` fill."""
        shape, dtype = long(self.shape(node)), dtype_name(node.meta["val"].dtype)

        def generate(inputs: Any, outputs: Any) -> Any:
            with IRBuilder() as builder:
                with TB.serial(0, 1):  # one statement, whatever the body holds
                    body(outputs[0], *inputs)
                return builder.get()

        def function(*tensors: Any) -> Any:
            return te.extern([shape], list(tensors), generate, dtype=dtype, name=name)

        return self.emit_values(function, *map(self.value, operands), name=name, by_hand=True)

    def reshape(self, value: Any, shape: list[Any]) -> Any:
        """A relax reshape of a relax value."""
        return self.builder.emit(relax.op.reshape(value, relax.ShapeExpr(shape)))


def long(shape: list[Any]) -> Index:
    """A shape for te.compute: its loops then count in int64, as the symbols do."""
    return tuple(tirx.const(size, "int64") if isinstance(size, int) else size for size in shape)


def dtype_name(dtype: torch.dtype) -> str:
    """``"float32"`` and so on: TVM's names are torch's."""
    return str(dtype).removeprefix("torch.")


def type_of(value: Any) -> str:
    """The dtype of a TensorIR expression."""
    return str(value.ty.dtype)


def cast(value: Any, dtype: str) -> Any:
    """A number or TensorIR expression as ``dtype``; bool as torch converts it, anything but zero being true."""
    if isinstance(value, _NUMBERS):
        return tirx.const(bool(value) if dtype == "bool" else value, dtype)
    have = type_of(value)
    if have == dtype:
        return value
    if dtype == "bool":
        truth = tirx.NE(value, tirx.const(0, have))
        # NaN is true, and TVM's comparison says that it equals everything.
        return tirx.any(truth, tirx.isnan(cast(value, "float64"))) if "float" in have else truth
    if have == "bool":
        return tirx.Select(value, tirx.const(1, dtype), tirx.const(0, dtype))
    if dtype == "bfloat16":
        return _rounded_to_bfloat16(value if have == "float32" else tirx.Cast("float32", value))
    return tirx.Cast(dtype, value)


def _rounded_to_bfloat16(value: Any) -> Any:
    """Half to even, by its bits. TVM's own cast makes numbers of some NaNs, and drops a cast there and back."""
    bits = tirx.reinterpret("uint32", value)

    def number(of: int) -> Any:
        return tirx.const(of, "uint32")

    half = number(0x7FFF) + (tirx.bitwise_and(bits >> number(16), number(1)))
    kept = tirx.Select(tirx.isnan(value), number(0x7FC0), (bits + half) >> number(16))
    return tirx.reinterpret("bfloat16", tirx.Cast("uint16", kept))


def broadcast(node: fx.Node, operand: fx.Node, index: Index) -> Index:
    """The index into ``operand`` for ``index`` into ``node``, by torch's broadcasting.

    Raises: BuildError where a symbolic size is neither provably the result's nor the number 1.
    """
    own, result = operand.meta["val"].shape, node.meta["val"].shape
    return spread(own, result, index, f"{node.name}: operand {operand.name}")


def spread(own: Any, result: Any, index: Index, where: str) -> Index:
    """``broadcast`` for shapes: ``own`` is aligned with the end of ``result``."""
    aligned = list(zip(own, result[len(result) - len(own) :], index[len(index) - len(own) :], strict=True))
    for size, wanted, _ in aligned:
        if not (isinstance(size, int) and size == 1) and not same_size(size, wanted):
            raise BuildError(
                f"{where}: expected size 1 or {wanted}, got {size}, which may differ; declare the two dimensions equal"
            )
    return tuple(0 if isinstance(size, int) and size == 1 else i for size, _, i in aligned)
