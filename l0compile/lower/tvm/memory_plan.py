"""Memory planning: intermediate results that do not live at the same time share a block of memory.

Among tensors of symbolic sizes, TVM reuses memory only between equal sizes. That takes several times the memory that is
live at any moment, and more cache than there is. Sizes of one kind, such as ``1536 * (batch * seq)`` bytes, keep their
ratio for every batch, so blocks can be assigned at compile time as multiples of ``batch * seq``.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from l0compile.hardware._tvm import relax, tirx, tvm

_ALIGNMENT = 64  # bytes; kernels load whole cache lines


@dataclass(frozen=True)
class Lifetime:
    """How much memory a tensor needs, and when.

    Attributes:
        first: The first step that needs it.
        last: The last step that needs it.
        units: Bytes, as a multiple of the unit of the tensor's kind.
    """

    first: int
    last: int
    units: int

    def meets(self, other: "Lifetime") -> bool:
        """Return whether some step needs both."""
        return self.first <= other.last and other.first <= self.last


def assign_blocks(lifetimes: Sequence[Lifetime]) -> tuple[list[int], list[int]]:
    """Assign a block of memory to each tensor; tensors that live at the same time get different blocks.

    The largest tensor comes first, and each gets the first block that is free during its lifetime, so no block has to
    grow. A block serves one tensor at a time, because kernels take no tensor that starts inside a block.

    Returns:
        The block of each tensor, and the units of each block.
    """
    blocks: list[list[Lifetime]] = []
    chosen = [0] * len(lifetimes)
    for number in sorted(range(len(lifetimes)), key=lambda n: -lifetimes[n].units):
        lifetime = lifetimes[number]
        free = (i for i, block in enumerate(blocks) if not any(lifetime.meets(other) for other in block))
        chosen[number] = next(free, len(blocks))
        if chosen[number] == len(blocks):
            blocks.append([])
        blocks[chosen[number]].append(lifetime)
    return chosen, [max(lifetime.units for lifetime in block) for block in blocks]


def plan_memory(module: Any) -> Any:
    """Let the tensors that ``main`` allocates share blocks of memory; its results keep memory of their own.

    Args:
        module: The result of ``CallTIRRewrite``: allocations, calls that fill them, and other names for them.

    Returns:
        A new module.
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
    """An allocation.

    Attributes:
        var: The variable that names it.
        shape: Its shape, a relax expression.
        dtype: Its dtype.
        lifetime: When it is needed, and how much memory.
        kind: The symbolic factors of its size, as text.
        unit: The symbolic factors of its size, as an expression; None if there are none.
    """

    var: Any
    shape: Any
    dtype: str
    lifetime: Lifetime
    kind: str
    unit: Any


@dataclass
class _Rewritten:
    """What replaces the allocations of a function.

    Attributes:
        storages: Bindings that allocate the blocks.
        bindings: Variable -> the binding that replaces its allocation.
    """

    storages: list[Any]
    bindings: dict[Any, Any]

    def add(self, tensors: Sequence[_Tensor]) -> None:
        """Assign memory to tensors of one kind, given in the order in which they are made."""
        chosen, units = assign_blocks([tensor.lifetime for tensor in tensors])
        blocks = [self._block(_times(size, tensors[0].unit)) for size in units]
        same: dict[Any, Any] = {}
        for tensor, number in zip(tensors, chosen, strict=True):
            value = relax.op.memory.alloc_tensor(blocks[number], 0, tensor.shape, tensor.dtype)
            # For the same memory in the same shape, use the tensor that exists already.
            made = same.setdefault((number, str(tensor.shape), tensor.dtype), tensor.var)
            self.bindings[tensor.var] = relax.VarBinding(tensor.var, value if made is tensor.var else made)

    def _block(self, size: Any) -> Any:
        block = relax.Var(f"workspace_{len(self.storages)}", relax.AnyType())
        value = relax.op.memory.alloc_storage(relax.ShapeExpr([size]), 0, "global", "uint8")
        self.storages.append(relax.VarBinding(block, value))
        return block


def _allocations(bindings: Sequence[Any], result: Any) -> list[_Tensor]:
    """List the tensors that ``main`` allocates and does not return, with their lifetimes."""
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
    return _Tensor(binding.var, shape, dtype, Lifetime(step, end, units), " * ".join(map(str, factors)), unit)


def _factors(sizes: Iterable[Any]) -> tuple[list[int], list[Any]]:
    """Return the numbers and the other expressions whose product is the product of ``sizes``."""
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
    """List the variables in an expression that binds none itself."""
    return list(relax.analysis.free_vars(expression))
