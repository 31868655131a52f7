"""Joining consecutive kernels in one parallel launch, with barriers between those that use the same memory.

A parallel loop of TVM wakes its threads and waits for all of them, which takes some microseconds, as long as a small
kernel. Consecutive kernels, with nothing but new names for memory between them, are therefore called from one launch,
in which every thread does its share of each kernel's tasks. A kernel needs a barrier before it if it touches memory
that a kernel since the last barrier wrote, or writes memory that such a kernel read. The projections of queries, keys
and values, for example, need none between them.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm_ffi

from l0compile.hardware._tvm import TB, IRBuilder, relax, tirx, tvm
from l0compile.kernels.cpu.lanes import SCHEDULED, body
from l0compile.lower.tvm.memory_plan import variables
from l0compile.lower.tvm.ordinary import PLAIN
from l0compile.lower.tvm.work_sharing import WorkShared, share_work

STEPS = "steps"
"""Name of the function that does what ``main`` does, but launches each kernel on its own, so that each can be timed."""

# Operators that only allocate or rename memory may run before the kernels of a run between which they stand.
_NAMES = {
    "relax.memory.alloc_storage",
    "relax.memory.alloc_tensor",
    "relax.builtin.alloc_tensor",
    "relax.reshape",
}
_ALLOCATIONS = _NAMES - {"relax.memory.alloc_tensor", "relax.reshape"}

Positions = tuple[tuple[int, ...], ...]
"""For each kernel of a launch, the positions of its arguments among those of the launch."""


CALLS = "l0compile.calls"
"""Attribute of a launch: the names by which it calls kernels of other object files, see ``kernel_symbol``."""


def kernel_symbol(call: str) -> str:
    """Return the symbol of the kernel that a launch calls by a name of its own.

    Each call has one, because the code generator declares a function that is not in its module once for each call, and
    gives all declarations of one name other names.
    """
    return "__tvm_ffi_" + call.rsplit("__", 1)[0]


def join_launches(module: Any, threads: int, *, apart: bool = False) -> Any:
    """Join the kernels that ``main`` runs one after another in launches, and add the function ``STEPS``.

    Kernels whose tasks cannot be divided are called as before.

    Args:
        module: The result of ``plan_memory``.
        threads: Number of tasks of a launch.
        apart: The code of the kernels will not lie in one object file with the launches.

    Returns:
        A new module.
    """
    main, joiner = module["main"], _Joiner(module, threads, apart)
    joined, alone = joiner.joined(main, together=True), joiner.joined(main, together=False)
    made = joiner.builder.get()
    made["main"], made[STEPS] = joined, relax.utils.copy_with_new_vars(alone)
    return made


@dataclass
class _Run:
    """Consecutive calls of kernels.

    Attributes:
        memory: Variable -> the allocations that it may name.
        bindings: The calls.
        kernels: The kernel of each call.
        barriers: Whether each call needs a barrier before it.
    """

    memory: dict[Any, frozenset[Any]]
    bindings: list[Any] = field(default_factory=list)
    kernels: list[WorkShared] = field(default_factory=list)
    barriers: list[bool] = field(default_factory=list)
    _read: frozenset[Any] = frozenset()
    _written: frozenset[Any] = frozenset()

    def add(self, binding: Any, kernel: WorkShared) -> None:
        """Add a call, and decide whether it needs a barrier."""
        named = [self._named(argument) for argument in binding.value.args]
        reads = frozenset[Any]().union(*named)
        writes = frozenset[Any]().union(*(named[i] for i in kernel.writes))
        waits = bool(writes & (self._read | self._written) or reads & self._written)
        self._read, self._written = (reads, writes) if waits else (self._read | reads, self._written | writes)
        self.bindings.append(binding)
        self.kernels.append(kernel)
        self.barriers.append(waits)

    def note(self, binding: Any) -> None:
        """Note the allocations that ``binding``, which calls no kernel, may name."""
        own = frozenset([binding.var]) if _operator(binding) in _ALLOCATIONS else frozenset[Any]()
        self.memory[binding.var] = own | self._named(binding.value)

    def _named(self, expression: Any) -> frozenset[Any]:
        return frozenset[Any]().union(*(self.memory.get(var, frozenset()) for var in variables(expression)))

    def arguments(self) -> tuple[list[Any], Positions]:
        """Return the distinct arguments of all calls, and the positions of each call's among them."""
        if len(self.bindings) == 1:
            own = [*self.bindings[0].value.args]
            return own, (tuple(range(len(own))),)
        found: dict[Any, Any] = {}
        keys: list[list[Any]] = []
        for number, binding in enumerate(self.bindings):
            given = [*binding.value.args]
            keys.append([_identity(argument, (number, i)) for i, argument in enumerate(given)])
            found.update(zip(keys[-1], given, strict=True))
        place = {key: number for number, key in enumerate(found)}
        return [*found.values()], tuple(tuple(place[key] for key in own) for own in keys)


def _is_tensor(argument: Any) -> bool:
    return isinstance(argument.ty, relax.TensorType)


def _identity(argument: Any, place: tuple[int, int]) -> Any:
    """Return a key that equal arguments share: a variable, or the formula of a size.

    Constants have no names, so each of them counts as distinct.
    """
    if _is_tensor(argument):
        return argument if isinstance(argument, relax.Var) else place
    # The type stub asks for a field that the class fills itself.
    return tvm_ffi.StructuralKey(argument)  # type: ignore[call-arg]


def _operator(binding: Any) -> str:
    return str(getattr(getattr(binding.value, "op", None), "name", ""))


def _only_names(binding: Any) -> bool:
    """Return whether a binding only allocates or renames memory, and computes nothing."""
    value = binding.value
    return isinstance(value, relax.Var | relax.TupleGetItem | relax.Tuple) or _operator(binding) in _NAMES


@dataclass
class _Joiner:
    """Makes the launches of a module.

    Attributes:
        module: The module.
        threads: Number of tasks of a launch.
        apart: The code of the kernels will not lie in one object file with the launches.
        launches: The launch functions made so far.
    """

    module: Any
    threads: int
    apart: bool
    launches: dict[Any, Any] = field(default_factory=dict)
    _shares: dict[str, WorkShared | None] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _calls: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.builder, self._added = relax.BlockBuilder(self.module), set[str]()

    def joined(self, main: Any, *, together: bool) -> Any:
        """Rewrite ``main`` with launches of as many kernels as possible, or of one kernel each."""
        made: list[Any] = []
        run = _Run({})
        for binding in (binding for block in main.body.blocks for binding in block.bindings):
            kernel = self._kernel(binding)
            if kernel is not None:
                run.add(binding, kernel)
            if kernel is None:
                run.note(binding)
            if kernel is not None and together:
                continue
            if kernel is not None or not _only_names(binding):
                made += self._launched(run)
                run = _Run(run.memory)
            if kernel is None:
                made.append(binding)
        made += self._launched(run)
        ended = relax.SeqExpr([relax.BindingBlock(made)], main.body.body)
        return relax.Function(main.params, ended, main.ret_ty, main.is_pure, main.attrs)

    def _kernel(self, binding: Any) -> WorkShared | None:
        callee = getattr(binding.value, "op", None)
        if not isinstance(binding.value, relax.Call) or not isinstance(callee, tvm.ir.GlobalVar):
            return None
        name = callee.name_hint
        if name not in self._shares:
            function = self.module[name]
            self._shares[name] = share_work(function) if isinstance(function, tirx.PrimFunc) else None
        return self._shares[name]

    def _launched(self, run: _Run) -> Iterator[Any]:
        """Iterate over the bindings that replace a run."""
        if not any(kernel.parallel for kernel in run.kernels):
            yield from run.bindings  # nothing to share
            return
        names = tuple(binding.value.op.name_hint for binding in run.bindings)
        arguments, places = run.arguments()
        key = names, places, tuple(run.barriers)
        if key not in self.launches:
            self.launches[key] = self._launch(run, names, [_is_tensor(a) for a in arguments], places)
        first = run.bindings[0]
        yield relax.VarBinding(first.var, relax.Call(self.launches[key], arguments))

    def _launch(self, run: _Run, names: Sequence[str], tensors: Sequence[bool], places: Positions) -> Any:
        shares = [self._share(name, kernel) for name, kernel in zip(names, run.kernels, strict=True)]
        if self.apart:
            shares = [f"{share}__{next(self._calls)}" for share in shares]
        function = _launch_function(self.threads, shares, tensors, places, run.barriers)
        if self.apart:
            function = function.with_attr(CALLS, shares)
        if len(names) > 1:
            return self.builder.add_func(function, f"launch_{len(self.launches)}")
        own = run.bindings[0].value.op
        if PLAIN in (self.module[own].attrs or {}):
            function = function.with_attr(PLAIN, True)
        self.builder.update_func(own, function)
        return own

    def _share(self, name: str, kernel: WorkShared) -> str:
        """Return the name of a kernel's share in the module, and add it if it is new."""
        if name not in self._names:
            wanted, function = _named_by_content(kernel.function)
            if wanted not in self._added:
                self._added.add(wanted)
                wanted = self.builder.add_func(
                    function, wanted
                ).name_hint  # the name of an equal one, if there is one
            self._names[name] = wanted
        return self._names[name]


def _named_by_content(function: Any) -> tuple[str, Any]:
    """Return a name for a kernel that every other content lacks, and the kernel without its old one."""
    plain = function.without_attr("global_symbol")
    digest = hashlib.sha256(tvm.ir.save_json(plain).encode()).hexdigest()[:24]
    return f"kernel_{digest}", plain


def _launch_function(
    threads: int, names: Sequence[str], tensors: Sequence[bool], places: Positions, barriers: Sequence[bool]
) -> Any:
    """Make a PrimFunc that calls kernels by name in one launch.

    Args:
        threads: Number of tasks.
        names: Names of the kernels.
        tensors: Whether each argument of the launch is a tensor, and not a size.
        places: Positions of each kernel's arguments among those of the launch.
        barriers: Whether each kernel needs a barrier before it.
    """
    with IRBuilder() as builder, TB.prim_func(s_tir=True):
        TB.func_name("launch")
        TB.func_attr({SCHEDULED: True})
        kinds = ["handle" if tensor else "int64" for tensor in tensors]
        arguments = [TB.arg(f"a{i}", tirx.Var(f"a{i}", kind)) for i, kind in enumerate(kinds)]
        with body(), TB.attr(tirx.const(0, "int32"), "pragma_parallel_launch_point", tirx.const(1, "int32")):
            for number, (name, own) in enumerate(zip(names, places, strict=True)):
                if number + 1 < len(names) and barriers[number + 1]:
                    pragma = "pragma_parallel_barrier_when_finish"
                    with TB.attr(tirx.const(0, "int32"), pragma, tirx.const(1, "int32")):
                        _call(name, [arguments[place] for place in own], threads)
                else:
                    _call(name, [arguments[place] for place in own], threads)
    return builder.get()


def _call(name: str, arguments: Sequence[Any], threads: int) -> None:
    with TB.parallel(0, threads) as share:
        shares = TB.cast(share, "int64"), tirx.const(threads, "int64")
        TB.evaluate(tirx.call_cpacked(name, *arguments, *shares))
