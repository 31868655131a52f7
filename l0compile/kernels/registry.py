"""All kernels. A new one is a file with its ``KernelDef`` and a line here."""

from typing import Any

import torch
from torch import fx

from l0compile.errors import BuildError
from l0compile.hardware.targets import Target
from l0compile.ir import ops as ops  # registers the operators that are looked up below
from l0compile.kernels.cpu.attention.block.definition import BLOCK_ATTENTION
from l0compile.kernels.cpu.attention.definition import ATTENTION
from l0compile.kernels.cpu.bag import BAG
from l0compile.kernels.cpu.computed.product import PRODUCT
from l0compile.kernels.cpu.computed.top_places import TOP_PLACES
from l0compile.kernels.cpu.conv import CONV
from l0compile.kernels.cpu.int8_conv import INT8_CONV
from l0compile.kernels.cpu.lanes import LIGHT
from l0compile.kernels.cpu.linear.definition import LINEAR
from l0compile.kernels.cpu.mask import MASK
from l0compile.kernels.cpu.narrow import NARROW
from l0compile.kernels.cpu.norm import NORM
from l0compile.kernels.cpu.pack import PACK
from l0compile.kernels.cpu.planes import COPY
from l0compile.kernels.cpu.quantize_planes import QUANTIZE_PLANES
from l0compile.kernels.cpu.rope import ROPE
from l0compile.kernels.cpu.rows.definition import ROWS_BSR, ROWS_LINEAR
from l0compile.kernels.cpu.window import WINDOW
from l0compile.kernels.cpu.winograd import WINOGRAD
from l0compile.kernels.cpu.winograd_planes import WINOGRAD_PLANES
from l0compile.kernels.cuda.attention.definition import CUDA_ATTENTION, CUDA_BLOCK_ATTENTION
from l0compile.kernels.cuda.integers.definition import CUDA_INT8_LINEAR, CUDA_QUANTIZE
from l0compile.kernels.cuda.linear.definition import CUDA_LINEAR
from l0compile.kernels.cuda.norm import CUDA_NORM
from l0compile.kernels.cuda.rope import CUDA_ROPE
from l0compile.kernels.cuda.two_of_four.definition import CUDA_TWO_OF_FOUR_LINEAR
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.token_tile import TokenTile

KERNELS: tuple[KernelDef, ...] = (
    LINEAR,
    ROWS_LINEAR,
    ROWS_BSR,
    ATTENTION,
    BLOCK_ATTENTION,
    MASK,
    PRODUCT,
    TOP_PLACES,
    NORM,
    ROPE,
    PACK,
    NARROW,
    BAG,
    CONV,
    INT8_CONV,
    QUANTIZE_PLANES,
    COPY,
    WINDOW,
    WINOGRAD_PLANES,
    WINOGRAD,
    CUDA_ATTENTION,
    CUDA_BLOCK_ATTENTION,
    CUDA_LINEAR,
    CUDA_INT8_LINEAR,
    CUDA_QUANTIZE,
    CUDA_TWO_OF_FOUR_LINEAR,
    CUDA_NORM,
    CUDA_ROPE,
)

_CALLS = {
    kind: {
        getattr(torch.ops.l0compile, operator).default: call
        for kernel in KERNELS
        if kernel.kind == kind
        for operator, call in kernel.calls.items()
    }
    for kind in ("llvm", "cuda")
}
_OF_SPEC = {(kernel.kind, kernel.spec): kernel for kernel in KERNELS}


def kernel_call(node: fx.Node, kind: str = "llvm") -> KernelCall | None:
    """How a kernel computes ``node`` on targets of ``kind``; None when its operator is an ordinary one."""
    call = _CALLS[kind].get(node.target)
    return call(node) if call else None


def kernel_of(spec: Any, kind: str = "llvm") -> KernelDef:
    """The kernel that computes ``spec``.

    Raises:
        BuildError: there is none on targets of ``kind``.
    """
    found = _OF_SPEC.get((kind, type(spec)))
    if found is None:
        raise BuildError(f"kernels: expected the spec of a kernel for {kind!r} targets, got {spec}")
    return found


def kind_of(machine: TokenTile | Target) -> str:
    """The kind of target that ``machine`` stands for: CPUs come as their token tile, GPUs as the target."""
    return machine.kind if isinstance(machine, Target) else "llvm"


def emit(spec: Any, machine: TokenTile | Target, schedule: Any = None) -> Any:
    """The scheduled ``tirx.PrimFunc`` that computes ``spec``; needs no further pass.

    Args:
        spec: of any kernel in ``KERNELS``.
        machine: token tile of a CPU, or the target that is a GPU.
        schedule: one of the kernel's schedules; None: the default one.

    Raises:
        ScheduleError: the schedule does not fit.
        BuildError: no kernel has such a spec, or it tells of more tokens in the last tile than a tile holds.
    """
    kernel, tail = kernel_of(spec, kind_of(machine)), getattr(spec, "tail", None) or 0
    if isinstance(machine, TokenTile) and not 0 <= tail < machine.lanes:
        raise BuildError(f"kernels: expected a last tile of 0 to {machine.lanes - 1} tokens, got {spec}")
    function = kernel.emit(spec, machine, schedule) if kernel.schedules else kernel.emit(spec, machine)
    return function.with_attr(LIGHT, True) if kernel.light else function
