"""Building the stages of a program: TVM takes every node that it can, the others become code for PyTorch.

On a GPU there are no others: a model is compiled as a whole, or not at all.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import fx

from l0compile.errors import BuildError, RewriteError
from l0compile.hardware.costs import Costs
from l0compile.hardware.targets import Core, Target
from l0compile.ir.instructions import Code
from l0compile.ir.program import Program
from l0compile.ir.records import Launch
from l0compile.kernels.token_tile import TokenTile
from l0compile.lower.backends import CompilerBackend, backend_of
from l0compile.lower.kept_stage import KeptStage, stage_key
from l0compile.lower.launch_records import launches, parameter_names
from l0compile.lower.partition.in_place import writers
from l0compile.lower.partition.index_bounds import index_bounds
from l0compile.lower.partition.instructions import instructions
from l0compile.lower.partition.island_work import is_small
from l0compile.lower.partition.stages import Stage, is_number, single_stage, split, stage_per_node
from l0compile.lower.partition.static_refusals import static_refusals
from l0compile.lower.tvm.code_cache import user_cache
from l0compile.lower.tvm.library import MachineCode
from l0compile.rewrite.pipeline import for_pytorch

if TYPE_CHECKING:
    from l0compile.lower.translate import Translation

_log = logging.getLogger("l0compile")


@dataclass(frozen=True)
class BuiltStage:
    """A stage that is ready to run.

    Attributes:
        stage: The stage that was built.
        program: The program as it was lowered; it holds the constants.
        parameters: Names of the constants that the stage takes, in order.
        machine_code: What TVM built; None for PyTorch.
        launches: Launches of our kernels in it.
        code: What PyTorch runs; None for TVM.
        one_thread: PyTorch is faster here without waking its other threads.
        plain: Names of the functions in the machine code that no schedule rule could change.
        target: What the machine code is for; None for PyTorch.
    """

    stage: Stage
    program: Program
    parameters: tuple[str, ...]
    machine_code: MachineCode | None = None
    launches: tuple[Launch, ...] = ()
    code: Code | None = None
    one_thread: bool = False
    plain: tuple[str, ...] = ()
    target: Target | None = None

    @property
    def kind(self) -> str:
        """The kind of target that its kernels are for."""
        return self.target.kind if self.target else "llvm"


def lower(
    program: Program, target: Target, machine: TokenTile | Target, costs: Costs | None = None
) -> tuple[BuiltStage, ...]:
    """Build an optimised program in stages; nodes that TVM cannot take become islands in PyTorch.

    Args:
        program: The result of ``optimise``.
        target: The machine to build for.
        machine: Lanes, rows and threads of a CPU's kernels, or the target again where it is a GPU.
        costs: Measured costs of kernels on the target, which pick their schedules.

    Returns:
        The built stages, in the order of running.

    Raises:
        BuildError: Neither engine can run some operator, or a result of the model is not a tensor; on a GPU: TVM cannot
            run some operator.
    """
    refused, backend = _refused(program, target), backend_of(target, machine)
    while True:
        stages = split(program, refused)
        try:
            lowered = _translate_all(stages, backend, costs)
            return tuple(_build(*both, backend) for both in zip(stages, lowered, strict=True))
        except BuildError as error:
            if target.kind == "cuda" or not error.nodes.keys() - refused.keys():
                raise
            refused |= {name: reason for name, reason in error.nodes.items() if name not in refused}


def check_gpu(program: Program, target: Target, costs: Costs | None = None) -> None:
    """Check, in a second or so, that an optimised program lowers for a GPU; no code is generated.

    Raises:
        BuildError: TVM cannot run some operator.
    """
    _translate_all(split(program, _refused(program, target)), backend_of(target, target), costs)


def _refused(program: Program, target: Target) -> dict[str, str]:
    """Return nodes that TVM is known not to run -> why.

    Raises:
        BuildError: A result is not a tensor; on a GPU: there are such nodes.
    """
    if any(isinstance(result, fx.Node) and is_number(result) for result in program.output.args[0]):
        raise BuildError("a result of the model is a number, which compiled code does not return")
    refused = {**provable_bounds(program)[1], **static_refusals(program)}
    refused |= {writer: f"it writes into {name}, in place" for name, writer in writers(program).items()}
    if target.kind == "cuda":
        _refuse_islands(target, refused)
    return refused


def _refuse_islands(target: Target, refused: Mapping[str, str]) -> None:
    """Raise BuildError where something would have to run in PyTorch, between two parts on the GPU."""
    if refused:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:3])
        raise BuildError(
            f"target {target.name}: expected operators that compiled code takes, as a GPU's models have no parts in "
            f"PyTorch, got {len(refused)} others: {reasons}; compile the part of the model without them",
            dict(refused),
        )


def lower_torch(program: Program, reason: str) -> BuiltStage:
    """Build a dense program as a single stage for PyTorch.

    Args:
        program: The program.
        reason: Why TVM does not run it, for the account of the compiled model.

    Raises:
        BuildError: Some operator is neither one of ATen's nor one of ours.
    """
    return _torch_stage(single_stage(program, "torch", reason))


def provable_bounds(program: Program) -> tuple[Mapping[str, int], dict[str, str]]:
    """Return the bounds of inputs that index tables, and nodes whose indices may leave their table -> why."""
    unproven: dict[str, str] = {}
    while True:
        try:
            return index_bounds(program, unproven), unproven
        except BuildError as error:
            if not error.nodes.keys() - unproven.keys():
                raise
            unproven |= error.nodes


@dataclass(frozen=True)
class _Lowered:
    """A stage for TVM on its way to machine code: translated, or found in the cache.

    Attributes:
        packed: The program in the layouts of the kernels.
        key: Of its machine code in the cache.
        found: What lies there, or the translation.
    """

    packed: Program
    key: str
    found: "KeptStage | Translation"


def _translate_all(
    stages: Sequence[Stage], backend: CompilerBackend, costs: Costs | None
) -> list[_Lowered | None]:
    """Translate all TVM stages before building any, because a refused node changes how the program is split."""
    lowered: list[_Lowered | None] = []
    refused: dict[str, str] = {}
    for stage in stages:
        try:
            lowered.append(_translate(stage, backend, costs) if stage.engine == "tvm" else None)
        except (BuildError, RewriteError) as error:
            refused |= getattr(error, "nodes", None) or _own_fault(_all_of(stage, error))
    if refused:
        raise BuildError(next(iter(refused.values())), refused)
    return lowered


def _translate(stage: Stage, backend: CompilerBackend, costs: Costs | None) -> _Lowered:
    packed, cache = backend.laid_out(stage.program), user_cache()
    key = stage_key(packed, backend.target, backend.machine, costs) if cache else ""
    kept = cache.get(key) if cache else None
    if kept is not None:
        return _Lowered(packed, key, KeptStage.of(kept))
    return _Lowered(packed, key, _translation(packed, backend.machine, costs))


def _translation(packed: Program, machine: TokenTile | Target, costs: Costs | None = None) -> "Translation":
    # Needs TVM's compiler, whose import takes longer than all else that there is to do for a stage that was kept.
    from l0compile.lower.translate import translate

    return translate(packed, machine, costs)


def _build(stage: Stage, lowered: _Lowered | None, backend: CompilerBackend) -> BuiltStage:
    if lowered is None:
        return _torch_stage(stage, backend.target.core)
    found, cache = lowered.found, user_cache()
    if isinstance(found, KeptStage):
        return _tvm_stage(stage, lowered, backend, backend.loaded(found.library), found.plain)
    try:
        built = backend.built(found.module)
    except BuildError as error:
        if backend.target.kind == "cuda":  # no other engine can take the operators at fault
            raise
        culprits = _own_fault(dict(_failing_alone(lowered.packed, backend)) or _all_of(stage, error))
        raise BuildError(str(error), culprits) from error
    content = backend.content(built.code)
    if cache and content is not None:
        cache.put(lowered.key, KeptStage(content, found.functions, built.plain).content())
    return _tvm_stage(stage, lowered, backend, built.code, built.plain)


def _tvm_stage(
    stage: Stage, lowered: _Lowered, backend: CompilerBackend, code: MachineCode, plain: tuple[str, ...]
) -> BuiltStage:
    target = backend.target
    found = launches(lowered.packed, lowered.found.functions, target.kind)
    names = parameter_names(lowered.packed)
    return BuiltStage(stage, lowered.packed, names, code, found, plain=plain, target=target)


def _failing_alone(packed: Program, backend: CompilerBackend) -> Iterator[tuple[str, str]]:
    """Iterate over the nodes that TVM cannot build even on their own, with the reason."""
    for stage in stage_per_node(packed):
        try:
            backend.built(_translation(stage.program, backend.machine).module)
        except BuildError as error:
            for operator in stage.record.operators:
                yield _origin(packed, operator.name), str(error)


def _origin(packed: Program, name: str) -> str:
    node = next(node for node in packed.graph.nodes if node.name == name)
    return str(node.meta.get("origin", name))


def _own_fault(failing: dict[str, str]) -> dict[str, str]:
    """Warn about nodes that should build in TVM and do not: PyTorch runs them correctly, but slowly."""
    name, reason = next(iter(failing.items()))
    _log.warning("%d operators (%s) run in PyTorch; please report the model: %s", len(failing), name, reason)
    return failing


def _all_of(stage: Stage, error: Exception) -> dict[str, str]:
    return {operator.name: str(error) for operator in stage.record.operators}


def _torch_stage(stage: Stage, beside: Core | None = None) -> BuiltStage:
    """``beside``: the core that runs TVM's stages, where there are any; a whole model has all threads."""
    program = for_pytorch(stage.program)
    code = instructions(program)
    one_thread = beside is not None and is_small(program, beside)
    return BuiltStage(stage, program, code.constants, code=code, one_thread=one_thread)
