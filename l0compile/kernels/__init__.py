"""CPU kernels, tokens in lanes: ``emit(spec, tile)`` gives the PrimFunc for a kernel spec."""

from typing import Any

from l0compile.kernels.cpu.attention import attention
from l0compile.kernels.cpu.conv import conv
from l0compile.kernels.cpu.linear import default_schedule, linear
from l0compile.kernels.cpu.mask import pack_mask
from l0compile.kernels.cpu.norm import norm
from l0compile.kernels.cpu.pack import pack
from l0compile.kernels.cpu.planes import copy
from l0compile.kernels.cpu.rope import rope
from l0compile.kernels.cpu.window import window
from l0compile.kernels.cpu.winograd import winograd, winograd_planes
from l0compile.kernels.spec import (
    AttentionSpec,
    ConvSpec,
    CopySpec,
    KernelSpec,
    LinearSchedule,
    LinearSpec,
    MaskSpec,
    NormSpec,
    PackSpec,
    RopeSpec,
    TokenTile,
    WindowSpec,
    WinogradPlanesSpec,
    WinogradSpec,
)

__all__ = [
    "AttentionSpec",
    "ConvSpec",
    "CopySpec",
    "KernelSpec",
    "LinearSchedule",
    "LinearSpec",
    "MaskSpec",
    "NormSpec",
    "PackSpec",
    "RopeSpec",
    "TokenTile",
    "WindowSpec",
    "WinogradPlanesSpec",
    "WinogradSpec",
    "default_schedule",
    "emit",
]  # fmt: skip


def emit(spec: KernelSpec, tile: TokenTile, schedule: LinearSchedule | None = None) -> Any:
    """The scheduled ``tirx.PrimFunc`` that computes ``spec``; needs no further pass.

    Args:
        schedule: of a linear layer; None takes the default one.
    Raises: ScheduleError for a schedule that does not fit.
    """
    match spec:
        case LinearSpec():
            return linear(spec, tile, schedule or default_schedule(spec, tile))
        case AttentionSpec():
            return attention(spec, tile)
        case MaskSpec():
            return pack_mask(spec, tile)
        case NormSpec():
            return norm(spec, tile)
        case RopeSpec():
            return rope(spec, tile)
        case PackSpec():
            return pack(spec, tile)
        case ConvSpec():
            return conv(spec, tile)
        case CopySpec():
            return copy(spec)
        case WindowSpec():
            return window(spec, tile)
        case WinogradPlanesSpec():
            return winograd_planes(spec, tile)
        case WinogradSpec():
            return winograd(spec, tile)
