"""relax.IRModule -> executable for one target: legalise, fuse, schedule, plan memory, generate code."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from l0compile.errors import BuildError
from l0compile.hardware._tvm import relax, tirx, tvm, tvm_target
from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.lanes import SCHEDULED
from l0compile.kernels.token_tile import TokenTile
from l0compile.lower.tvm.code_cache import user_cache
from l0compile.lower.tvm.fusion import allocating, fused
from l0compile.lower.tvm.launch_functions import with_launches
from l0compile.lower.tvm.launch_source import LinkError
from l0compile.lower.tvm.launches import Joined, join_launches
from l0compile.lower.tvm.library import InMemory, MachineCode
from l0compile.lower.tvm.memory_plan import plan_memory
from l0compile.lower.tvm.objects import can_link, linked
from l0compile.lower.tvm.ordinary import PLAIN, schedule_ordinary

_log = logging.getLogger("l0compile")


@dataclass(frozen=True)
class Built:
    """What TVM built.

    Attributes:
        code: The machine code.
        plain: Names of the functions in it that no schedule rule could change.
    """

    code: MachineCode
    plain: tuple[str, ...]


def build(module: Any, target: Target, tile: TokenTile, *, in_pieces: bool = True) -> Built:
    """Generate code for ``module``.

    Args:
        module: The result of ``translate``.
        target: The machine.
        tile: Lanes, rows and threads of the kernels.
        in_pieces: Keep the code of each kernel for other models and processes, where there is a linker for ``target``;
            else all code is generated at once, and never kept.

    Raises:
        BuildError: Code generation failed, or some operator has no schedule.
    """
    if in_pieces and can_link(target):
        try:
            return _built(module, target, tile, in_pieces=True)
        except LinkError as error:
            _log.warning("%s: code is generated in memory, and not kept", error)
    return _built(module, target, tile, in_pieces=False)


def _built(module: Any, target: Target, tile: TokenTile, *, in_pieces: bool) -> Built:
    with tvm_target(target):
        try:
            ready = scheduled(module, target, tile)
            plain = tuple(_plain(ready))
            if in_pieces:
                return Built(linked(ready, target, user_cache()), plain)
            whole = with_launches(ready, tile.threads)
            return Built(InMemory(relax.build(whole, target=tvm_target(target), relax_pipeline=None)), plain)
        except BuildError:
            raise
        except (
            Exception
        ) as error:  # passes written in Python raise errors of any type, such as TypeError and KeyError
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise BuildError(f"target {target.name}: code generation failed: {lines[-1]}") from error


def _plain(ready: Joined) -> Iterator[str]:
    for name, function in ready.module.functions.items():
        if isinstance(function, tirx.PrimFunc) and function.attrs and PLAIN in function.attrs:
            yield str(name.name_hint)
    yield from (launch.name for launch in ready.launches if launch.plain)


def scheduled(module: Any, target: Target, tile: TokenTile) -> Joined:
    """Lower ``module`` to what the code generator takes: VM calls, and scheduled PrimFuncs without aliases."""
    with tvm_target(target):
        module = schedule_ordinary(fused(module), tile)
        check_scheduled(module)
        module = relax.transform.BundleModelParams("parameters")(module)
        module = allocating(relax.transform.RewriteDataflowReshape()(module))
        joined = join_launches(plan_memory(module))
        module = tvm.transform.Sequential([
            relax.transform.LowerAllocTensor(),
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ])(joined.module)  # fmt: skip
    return replace(joined, module=_without_aliases(module))


def check_scheduled(module: Any) -> None:
    """Raise BuildError if some PrimFunc has no schedule."""
    for name, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc) and not (function.attrs and SCHEDULED in function.attrs):
            raise BuildError(
                f"{name.name_hint}: has no schedule; this is a fault of l0compile, please report the model"
            )


def _without_aliases(module: Any) -> Any:
    """Set ``tirx.noalias`` on every function.

    The code generator takes the flag of one function for all of them. The shape functions that the Relax pipeline adds
    do not have it, which makes every kernel five times slower.
    """
    result = tvm.IRModule(dict(module.functions), attrs=module.attrs)
    for name, function in module.functions.items():
        if isinstance(function, tirx.PrimFunc):
            result[name] = function.with_attr("tirx.noalias", True)
    return result
