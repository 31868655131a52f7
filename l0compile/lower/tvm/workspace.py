"""Few blocks of memory for all intermediate results of a function: one block serves many that do not live at once.

TVM reuses memory between tensors of sizes that it does not know only where these are equal: several times what lives at
once, spread over more cache than there is. Sizes of one kind, such as ``1536 * (batch * seq)`` bytes, keep their ratio
whatever the batch, so blocks can be dealt out once, as multiples of ``batch * seq``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from l0compile.hardware._tvm import relax, tirx, tvm

_ALIGNMENT = 64  # bytes; kernels load whole cache lines


@dataclass(frozen=True)
class Piece:
    """Memory needed from step ``first`` to step ``last``, both included: ``units`` bytes times the kind's unit."""

    first: int
    last: int
    units: int

    def meets(self, other: "Piece") -> bool:
        """Whether both are needed at some step."""
        return self.first <= other.last and other.first <= self.last


def deal(pieces: Sequence[Piece]) -> tuple[list[int], list[int]]:
    """(block of each piece, units of each block): pieces that live at the same time get different blocks.

    The largest first, each into the first block that is free while it lives, so that no block has to grow. Kernels take
    no tensor that starts inside a block.
    """
    blocks: list[list[Piece]] = []
    chosen = [0] * len(pieces)
    for number in sorted(range(len(pieces)), key=lambda n: -pieces[n].units):
        piece = pieces[number]
        free = (i for i, block in enumerate(blocks) if not any(piece.meets(other) for other in block))
        chosen[number] = next(free, len(blocks))
        if chosen[number] == len(blocks):
            blocks.append([])
        blocks[chosen[number]].append(piece)
    return chosen, [max(piece.units for piece in block) for block in blocks]


def share_workspace(module: Any) -> Any:
    """``module`` with the tensors that ``main`` allocates for itself in few blocks; results keep memory of their own.

    Expects what ``CallTIRRewrite`` leaves: allocations, calls that fill them, and other names for them.
    """
    main = module["main"]
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    wanted = _allocations(bindings, main.body.body)
    if not wanted:
        return module
    kinds: dict[str, list[_Tensor]] = {}
    for tensor in wanted:
        kinds.setdefault(tensor.kind, []).append(tensor)
    rewritten = _Rewritten([], {})
    for tensors in kinds.values():
        rewritten.add(tensors)
    made = [*rewritten.storages, *(rewritten.bindings.get(b.var, b) for b in bindings)]
    body = relax.SeqExpr([relax.BindingBlock(made)], main.body.body)
    function = relax.Function(main.params, body, main.ret_ty, main.is_pure, main.attrs)
    result = tvm.IRModule(dict(module.functions), attrs=module.attrs)
    result["main"] = function
    return relax.transform.CanonicalizeBindings()(result)


@dataclass(frozen=True)
class _Tensor:
    """An allocation. kind, unit: the factors of its size that are no numbers, as text and as an expression."""

    var: Any
    shape: Any
    dtype: str
    piece: Piece
    kind: str
    unit: Any


@dataclass
class _Rewritten:
    """storages: bindings of the blocks. bindings: variable -> what takes the place of its allocation."""

    storages: list[Any]
    bindings: dict[Any, Any]

    def add(self, tensors: Sequence[_Tensor]) -> None:
        """Deal out memory to tensors of one kind, given in the order in which they are made."""
        chosen, units = deal([tensor.piece for tensor in tensors])
        blocks = [self._block(_times(size, tensors[0].unit)) for size in units]
        same: dict[Any, Any] = {}
        for tensor, number in zip(tensors, chosen, strict=True):
            value = relax.op.memory.alloc_tensor(blocks[number], 0, tensor.shape, tensor.dtype)
            # The same memory in the same shape again: the tensor that is there.
            made = same.setdefault((number, str(tensor.shape), tensor.dtype), tensor.var)
            self.bindings[tensor.var] = relax.VarBinding(tensor.var, value if made is tensor.var else made)

    def _block(self, size: Any) -> Any:
        block = relax.Var(f"workspace_{len(self.storages)}", relax.AnyType())
        value = relax.op.memory.alloc_storage(relax.ShapeExpr([size]), 0, "global", "uint8")
        self.storages.append(relax.VarBinding(block, value))
        return block


def _allocations(bindings: Sequence[Any], result: Any) -> list[_Tensor]:
    """The tensors that only ``main`` sees, with the steps at which they live."""
    roots: dict[Any, frozenset[int]] = {}  # variable -> allocations (by step) whose memory it may name
    last: dict[int, int] = {}
    for step, binding in enumerate(bindings):
        if _is_allocation(binding):
            roots[binding.var] = frozenset([step])
            last[step] = step
            continue
        read = frozenset().union(*(roots.get(var, frozenset()) for var in variables(binding.value)))
        for root in read:
            last[root] = step
        roots[binding.var] = read
    kept = frozenset().union(*(roots.get(var, frozenset()) for var in variables(result)))
    return [_tensor(bindings[step], step, end) for step, end in last.items() if step not in kept]


def _tensor(binding: Any, step: int, end: int) -> _Tensor:
    shape, dtype = binding.value.args[0], str(binding.value.args[1].value)
    numbers, factors = _factors(shape.values)
    size = math.prod(numbers) * ((tvm.DataType(dtype).bits + 7) // 8)
    units = -(-size // _ALIGNMENT) * _ALIGNMENT
    factors = sorted(factors, key=str)
    unit = None
    for factor in factors:
        unit = factor if unit is None else unit * factor
    return _Tensor(binding.var, shape, dtype, Piece(step, end, units), " * ".join(map(str, factors)), unit)


def _factors(sizes: Iterable[Any]) -> tuple[list[int], list[Any]]:
    """(numbers, other expressions) whose product is that of ``sizes``."""
    numbers: list[int] = []
    others: list[Any] = []
    pending = list(sizes)
    while pending:
        size = pending.pop()
        if isinstance(size, tirx.IntImm):
            numbers.append(int(size))
        elif isinstance(size, tirx.Mul):
            pending += [size.a, size.b]
        else:
            others.append(size)
    return numbers, others


def _times(number: int, unit: Any) -> Any:
    return tirx.const(number, "int64") if unit is None else tirx.const(number, "int64") * unit


def _is_allocation(binding: Any) -> bool:
    value = binding.value
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.builtin.alloc_tensor"


def variables(expression: Any) -> list[Any]:
    """The variables in an expression."""
    found: list[Any] = []
    relax.analysis.post_order_visit(
        expression, lambda part: found.append(part) if isinstance(part, relax.Var) else None
    )
    return found
