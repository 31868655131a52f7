"""What the conversion of an operator works with: values so far, shapes, dtypes, broadcasting, and ways to emit code."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware._tvm import TB, IRBuilder, relax, te, tirx
from l0compile.ir.nodes import same_size
from l0compile.lower.machine_functions import of_the_machine
from l0compile.lower.tvm.symbols import Symbols
from l0compile.lower.tvm.tensor_expression import emit_tensor

Index = tuple[Any, ...]

Conversion = Callable[[fx.Node, "Lowering"], Any]
"""(node, translation in progress) -> the relax value of the node, or a tuple of them."""

_NUMBERS = (bool, int, float)


@dataclass
class Lowering:
    """A translation in progress.

    Attributes:
        builder: The relax.BlockBuilder that collects the code.
        values: Graph node -> relax expression of a tensor, TensorIR expression of a size, or a tuple of these.
        symbols: The variables of symbolic sizes.
    """

    builder: Any
    values: dict[fx.Node, Any]
    symbols: Symbols

    def value(self, argument: Any) -> Any:
        """Return the relax or TensorIR value of a node; return any other argument as it is."""
        return self.values[argument] if isinstance(argument, fx.Node) else argument

    def number(self, argument: Any) -> Any:
        """Return a Python number, or the TensorIR expression of a size.

        Raises:
            BuildError: The argument is neither a number nor a size.
        """
        value = self.value(argument)
        if isinstance(value, (*_NUMBERS, tirx.Expr)):
            return value
        if isinstance(value, torch.SymInt):
            return self.symbols.dimension(value)
        raise BuildError(f"expected a number or a size, got {argument!r}")

    def shape(self, node: fx.Node) -> list[Any]:
        """Return the sizes of a tensor: ints, and TensorIR expressions for symbolic sizes."""
        return self.symbols.shape(node.meta["val"].shape)

    def emit(self, function: Callable[..., Any], *operands: fx.Node, name: str) -> Any:
        """Emit the tensor expression ``function(*operands)``."""
        return self.emit_values(function, *map(self.value, operands), name=name)

    def emit_values(
        self, function: Callable[..., Any], *values: Any, name: str, by_hand: bool = False
    ) -> Any:
        """Emit the tensor expression ``function(*values)`` for relax values; see ``emit_tensor`` for ``by_hand``."""
        return emit_tensor(self.builder, self.symbols, function, values, name, by_hand)

    def compute(self, node: fx.Node, element: Callable[..., Any], *operands: fx.Node, name: str) -> Any:
        """Emit a tensor of the node's shape and dtype with ``element(index, *operands)`` at each index."""
        shape, dtype = long(self.shape(node)), dtype_name(node.meta["val"].dtype)

        def function(*tensors: Any) -> Any:
            return te.compute(shape, lambda *i: cast(element(i, *tensors), dtype), name=name)

        return self.emit(function, *operands, name=name)

    def extern(
        self,
        node: fx.Node,
        body: Callable[..., None],
        *operands: fx.Node,
        name: str,
        dtype: str | None = None,
    ) -> Any:
        """Emit a tensor of the node's shape and dtype that the statements of ``body(out, *operands)`` fill.

        With ``dtype`` the statements fill a tensor of that dtype, which is rounded to the node's once they are done.
        """
        shape, own = long(self.shape(node)), dtype_name(node.meta["val"].dtype)
        filled = dtype or own

        def generate(inputs: Any, outputs: Any) -> Any:
            with IRBuilder() as builder:
                with TB.serial(0, 1):  # makes one statement of the whole body
                    body(outputs[0], *inputs)
                return builder.get()

        def function(*tensors: Any) -> Any:
            return te.extern([shape], list(tensors), generate, dtype=filled, name=name)

        def rounded(wide: Any) -> Any:
            return te.compute(shape, lambda *i: cast(wide(*i), own), name=f"{name}_rounded")

        result = self.emit_values(function, *map(self.value, operands), name=name, by_hand=True)
        return result if filled == own else self.emit_values(rounded, result, name=f"{name}_rounded")

    def reshape(self, value: Any, shape: list[Any]) -> Any:
        """Emit a reshape of a relax value."""
        return self.builder.emit(relax.op.reshape(value, relax.ShapeExpr(shape)))


def long(shape: list[Any]) -> Index:
    """Make the sizes of a shape int64, as the symbols are, so that the loops of te.compute count in int64."""
    return tuple(tirx.const(size, "int64") if isinstance(size, int) else size for size in shape)


def from_front(index: Any, size: Any) -> Any:
    """Count a negative index from the end, as Python does."""
    return tirx.Select(index < 0, index + size, index)


def slice_start(start: Any, size: Any) -> Any:
    """Turn the start of a slice into an int64 position from 0 to ``size``: negative ones count from the end."""
    return tirx.max(tirx.min(from_front(cast(start, "int64"), size), size), tirx.const(0, "int64"))


def dtype_name(dtype: torch.dtype) -> str:
    """Return TVM's name of a dtype, such as ``"float32"``."""
    return str(dtype).removeprefix("torch.")


def accumulator(node: fx.Node) -> str:
    """Return the dtype in which a node's numbers are summed: float32 for bfloat16 and float16."""
    dtype = node.meta["val"].dtype
    return "float32" if dtype in (torch.bfloat16, torch.float16) else dtype_name(dtype)


def type_of(value: Any) -> str:
    """Return the dtype of a TensorIR expression."""
    return str(value.ty.dtype)


def cast(value: Any, dtype: str) -> Any:
    """Convert a number or TensorIR expression to ``dtype``; as in torch, everything but zero is true."""
    if isinstance(value, _NUMBERS):
        return tirx.const(bool(value) if dtype == "bool" else value, dtype)
    have = type_of(value)
    if have == dtype:
        return value
    if dtype == "bool":
        truth = tirx.NE(value, tirx.const(0, have))
        # NaN is true, but TVM's comparison holds it equal to everything.
        return tirx.any(truth, tirx.isnan(cast(value, "float64"))) if "float" in have else truth
    if have == "bool":
        return tirx.Select(value, tirx.const(1, dtype), tirx.const(0, dtype))
    if dtype == "bfloat16" and not of_the_machine():
        return _rounded_to_bfloat16(value if have == "float32" else tirx.Cast("float32", value))
    return tirx.Cast(dtype, value)


def _rounded_to_bfloat16(value: Any) -> Any:
    """Round a float32 to bfloat16, half to even, by its bits.

    TVM's own cast turns some NaNs into numbers, and TVM drops a cast to bfloat16 and back.
    """
    kept = _rounded_bits(value) >> tirx.const(16, "uint32")
    return tirx.reinterpret("bfloat16", tirx.Cast("uint16", kept))


def round_bfloat16(value: Any) -> Any:
    """Round a float32 to bfloat16, and hold it in float32."""
    if of_the_machine():
        return tirx.Cast("float32", tirx.Cast("bfloat16", value))
    return tirx.reinterpret(
        "float32", tirx.bitwise_and(_rounded_bits(value), tirx.const(0xFFFF0000, "uint32"))
    )


def _rounded_bits(value: Any) -> Any:
    """Bits whose high half is ``value`` in bfloat16."""
    bits = tirx.reinterpret("uint32", value)

    def number(of: int) -> Any:
        return tirx.const(of, "uint32")

    half = number(0x7FFF) + (tirx.bitwise_and(bits >> number(16), number(1)))
    return tirx.Select(tirx.isnan(value), number(0x7FC00000), bits + half)


def broadcast(node: fx.Node, operand: fx.Node, index: Index) -> Index:
    """Turn an index into ``node`` into an index into ``operand``, by torch's rules of broadcasting.

    Raises:
        BuildError: A symbolic size is neither the number 1 nor provably equal to the size of the result.
    """
    own, result = operand.meta["val"].shape, node.meta["val"].shape
    return broadcast_index(own, result, index, f"{node.name}: operand {operand.name}")


def broadcast_index(own: Any, result: Any, index: Index, where: str) -> Index:
    """Do the same for the shapes of operand and result, aligned at their last axes; errors begin with ``where``."""
    aligned = list(zip(own, result[len(result) - len(own) :], index[len(index) - len(own) :], strict=True))
    for size, wanted, _ in aligned:
        if not (isinstance(size, int) and size == 1) and not same_size(size, wanted):
            raise BuildError(
                f"{where}: expected size 1 or {wanted}, got {size}, which may differ; declare the two dimensions equal"
            )
    return tuple(0 if isinstance(size, int) and size == 1 else i for size, _, i in aligned)
