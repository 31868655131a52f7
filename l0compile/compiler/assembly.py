"""Put built stages together: a plan that runs them, and the account of it."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from l0compile.ir.conditions import show
from l0compile.ir.program import Program
from l0compile.ir.records import EngineChoice, PassRecord, Region
from l0compile.ir.state import State
from l0compile.kernels import kernel_call
from l0compile.lower.cuda.library import CudaLibrary
from l0compile.lower.partition.in_place import writer_of
from l0compile.lower.stage_build import BuiltStage
from l0compile.runtime import CudaStage, Explanation, StagePlan, Step, TorchStage, TvmStage


def assemble(
    program: Program, built: Sequence[BuiltStage], in_place: bool = False, borrows: bool = False
) -> StagePlan:
    """Return the plan that runs the stages of ``program`` in order.

    Args:
        program: what was built.
        built: its stages.
        in_place: the plan may write into its state.
        borrows: what PyTorch runs reads its constants where the model has them, until the plan is told to ``own`` them.
    """
    constants: dict[str, Tensor] = {}
    steps = []
    results = _results(program, built)
    wanted = {result[0] for result in results if isinstance(result, tuple)}
    engines = [part.stage.engine for part in built]
    for number, part in enumerate(built):
        later = {name for other in built[number + 1 :] for name in other.stage.inputs} | wanted
        frees = tuple(name for name in part.stage.inputs if name not in later)
        # The first stage of the next call comes after the last.
        stage = _stage(
            part,
            _own_names(part, constants, number),
            pauses="tvm" in engines,
            writes=_writes(program, part, built, wanted) if in_place else (),
            borrows=borrows,
        )
        steps.append(Step(stage, part.stage.inputs, part.stage.outputs, frees))
    return StagePlan(steps, [node.name for node in program.placeholders], results)


def _results(program: Program, built: Sequence[BuiltStage]) -> list[Any]:
    """Return (name of the value,), or the constant itself, for each flat result of the program."""
    flat: Any = program.output.args[0]
    names = iter(built[0].stage.outputs) if len(built) == 1 else None
    return [
        ((next(names) if names is not None else result.name),) if isinstance(result, fx.Node) else result
        for result in flat
    ]


def _own_names(part: BuiltStage, known: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return the constants of a stage in its order; rename one whose name another tensor has already."""
    own: dict[str, Tensor] = {}
    for name in part.parameters:
        tensor = part.program.constants[name]
        key = name if known.get(name, tensor) is tensor else f"{name}@{number}"
        own[key] = known[key] = tensor
    return own


def _writes(
    program: Program, part: BuiltStage, built: Sequence[BuiltStage], wanted: Container[str]
) -> tuple[int, ...]:
    """Return the positions of inputs that are state which the stage writes to and nothing else reads."""
    hidden = {node.name for node in program.placeholders[len(program.inputs) :]}
    return tuple(
        number
        for number, name in enumerate(part.stage.inputs)
        if name in hidden
        and name not in wanted
        and sum(name in other.stage.inputs for other in built) == 1
        and writer_of(name, part.program) is not None
    )


def _stage(
    part: BuiltStage, constants: Mapping[str, Tensor], pauses: bool, writes: Sequence[int], borrows: bool
) -> TvmStage | CudaStage | TorchStage:
    if isinstance(part.machine_code, CudaLibrary):
        assert part.target is not None
        return CudaStage(part.machine_code, constants, part.target)
    if part.machine_code is not None:
        return TvmStage(part.machine_code, constants)
    assert part.code is not None
    code = replace(part.code, constants=tuple(constants))
    return TorchStage(code, constants, 1 if part.one_thread else None, pauses, writes, borrows)


def explanation(
    program: Program,
    built: Sequence[BuiltStage],
    verification: Mapping[str, Any],
    choice: EngineChoice,
) -> Explanation:
    """Return the account of ``built``, the stages of ``program``."""
    ordinary = Counter(
        str(node.target)
        for part in built
        for node in part.program.graph.nodes
        if part.code is None
        and node.op == "call_function"
        and kernel_call(node, part.kind) is None
        and isinstance(node.meta.get("val"), torch.Tensor)
    )
    in_torch = all(part.code is not None for part in built)
    regions = dense_regions(program.regions) if in_torch else program.regions
    launches = tuple(replace(launch, stage=i) for i, part in enumerate(built) for launch in part.launches)
    history: tuple[PassRecord, ...] = program.history
    for part in built:
        history += part.program.history[0 if len(built) > 1 else len(program.history) :]
    stages = tuple(part.stage.record for part in built)
    return Explanation(
        regions,
        history,
        verification,
        dict(ordinary),
        stages,
        choice,
        launches=launches,
        sizes=_size_rules(program),
        stored=program.stored,
        plain=tuple(dict.fromkeys(name for part in built for name in part.plain)),
        state=tuple(_buffer(item, program, built) for item in program.state),
    )


def _buffer(item: State, program: Program, built: Sequence[BuiltStage]) -> str:
    """Describe a buffer of the state, and how a call changes it."""
    place = [state.name for state in program.state].index(item.name) + len(program.inputs)
    name, results = program.placeholders[place].name, _results(program, built)
    wanted = {result[0] for result in results if isinstance(result, tuple)}
    written = any(
        number in _writes(program, part, built, wanted)
        for part in built
        if part.code is not None
        for number, own in enumerate(part.stage.inputs)
        if own == name
    )
    kind, shape = str(item.tensor.dtype).removeprefix("torch."), "×".join(map(str, item.tensor.shape))
    how = "written to in place" if written else "made anew"
    return f"{item.name}: {kind} {shape or 'number'}, {item.tensor.nbytes:,} bytes, {how}"


def _size_rules(program: Program) -> tuple[str, ...]:
    """Say in words what must hold of the sizes of a call."""
    rules = []
    for symbol, (low, high) in program.symbols.items():
        name = program.labels.get(symbol, symbol)
        rules.append(f"{name} is {low} or more" if high is None else f"{name} is {low} to {high}")
    return (*rules, *(show(condition, program.labels) for condition in program.conditions))


def dense_regions(regions: Sequence[Region]) -> tuple[Region, ...]:
    """Return the regions as PyTorch runs them: dense where they were to be sparse."""
    return tuple(_dense(region) if region.format in ("bsr", "2:4") else region for region in regions)


def _dense(region: Region) -> Region:
    compact = region.shape_after != region.shape_before
    reason = f"{region.reason}; left dense: the model runs in PyTorch"
    return replace(
        region, format="compact" if compact else "dense", block=None, reason=reason, predicted=None
    )
