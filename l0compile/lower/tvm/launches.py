"""Joining consecutive kernels in one parallel launch, with barriers between those that use the same memory.

A parallel loop of TVM wakes its threads and waits for all of them, which takes some microseconds, as long as a small
kernel. Consecutive kernels, with nothing but new names for memory between them, are therefore called from one launch,
in which every thread does its share of each kernel's tasks. A kernel needs a barrier before it if it touches memory
that a kernel since the last barrier wrote, or writes memory that such a kernel read. The projections of queries, keys
and values, for example, need none between them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm_ffi

from l0compile.hardware._tvm import relax, tirx, tvm
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


@dataclass(frozen=True)
class LaunchedKernel:
    """A kernel of a launch.

    Attributes:
        name: Its name in the module; it takes two arguments more, the share and the number of shares.
        places: Positions of its other arguments among those of the launch.
        waits: Whether it needs a barrier before it.
    """

    name: str
    places: tuple[int, ...]
    waits: bool


@dataclass(frozen=True)
class JointLaunch:
    """A function that runs kernels in one parallel region.

    Attributes:
        name: Its name, by which the virtual machine calls it.
        tensors: Whether each of its arguments is a tensor, and not a size.
        kernels: What it runs, in order; one at least.
        light: Its kernels compute little for each byte that they touch.
        plain: It runs a single function, which no schedule rule could change.
    """

    name: str
    tensors: tuple[bool, ...]
    kernels: tuple[LaunchedKernel, ...]
    light: bool = False
    plain: bool = False


@dataclass(frozen=True)
class Joined:
    """A module whose functions call launches by name.

    Attributes:
        module: The module, with the kernels of the launches, but without the launches themselves.
        launches: What is called.
    """

    module: Any
    launches: tuple[JointLaunch, ...]


def join_launches(module: Any) -> Joined:
    """Join the kernels that ``main`` runs one after another in launches, and add the function ``STEPS``.

    Kernels whose tasks cannot be divided are called as before; what is not called is left out.

    Args:
        module: The result of ``plan_memory``.
    """
    main, joiner = module["main"], _Joiner(module)
    joined, alone = joiner.joined(main, together=True), joiner.joined(main, together=False)
    made = joiner.builder.get()
    made["main"], made[STEPS] = joined, relax.utils.copy_with_new_vars(alone)
    return Joined(_without_uncalled(made, joiner.launches.values()), tuple(joiner.launches.values()))


def _without_uncalled(module: Any, launches: Iterable[JointLaunch]) -> Any:
    called = {kernel.name for launch in launches for kernel in launch.kernels}
    relaxed = [function for function in module.functions.values() if isinstance(function, relax.Function)]
    for function in relaxed:
        bindings = (binding for block in function.body.blocks for binding in block.bindings)
        called |= {name for name in map(_callee, bindings) if name is not None}
    kept = {
        variable: function
        for variable, function in module.functions.items()
        if not isinstance(function, tirx.PrimFunc) or variable.name_hint in called
    }
    return tvm.IRModule(kept, attrs=module.attrs)


def _callee(binding: Any) -> str | None:
    """Return the name of the function of the module that a binding calls."""
    callee = getattr(binding.value, "op", None)
    is_call = isinstance(binding.value, relax.Call) and isinstance(callee, tvm.ir.GlobalVar)
    return str(callee.name_hint) if is_call and callee else None


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
        launches: The launches made so far.
    """

    module: Any
    launches: dict[Any, JointLaunch] = field(default_factory=dict)
    _shares: dict[str, WorkShared | None] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

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
        name = _callee(binding)
        if name is None:
            return None
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
        callee = relax.ExternFunc(self.launches[key].name)
        yield relax.VarBinding(
            run.bindings[0].var, relax.Call(callee, arguments, None, [relax.TupleType([])])
        )

    def _launch(
        self, run: _Run, names: Sequence[str], tensors: Sequence[bool], places: Positions
    ) -> JointLaunch:
        kernels = tuple(
            LaunchedKernel(self._share(name, kernel), own, waits)
            for name, kernel, own, waits in zip(names, run.kernels, places, run.barriers, strict=True)
        )
        light = all(kernel.light for kernel in run.kernels)
        if len(names) > 1:
            return JointLaunch(f"launch_{len(self.launches)}", tuple(tensors), kernels, light)
        attributes = self.module[names[0]].attrs or {}
        return JointLaunch(names[0], tuple(tensors), kernels, light, PLAIN in attributes)

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
