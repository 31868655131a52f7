"""Float32 planes as planes of words of four 8-bit integers (oracle: ``l0compile::quantize_planes``)."""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.kernels.cpu.dot import WORD, word
from l0compile.kernels.cpu.lanes import Expr, body, kernel, param, ramp, store, symbol
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.tir import TB
from l0compile.kernels.token_tile import TokenTile


@dataclass(frozen=True)
class QuantizePlanesSpec:
    """clamp(round(x * inverse) + zero_point, 0, 255), each channel with its own ``inverse``.

    Attributes:
        channels: planes of an input image.
        size: numbers of a plane.
        zero_point: what 0 becomes.
    """

    channels: int
    size: int
    zero_point: int


def quantize_planes(spec: QuantizePlanesSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, inverse, y): x [N, C, size] -> y [N, ceil(C / 4), size]; N is symbolic."""
    words = -(-spec.channels // WORD)
    with kernel("quantize_planes") as builder:
        images = symbol("images")
        x = param("x", (images, spec.channels, spec.size))
        inverse = param("inverse", (spec.channels,))
        y = param("y", (images, words, spec.size), "int32")

        def write(image: Expr, w: Expr, count: int) -> None:
            channels = [w * WORD + byte for byte in range(count)]
            inverses = [inverse[channel] for channel in channels]
            whole, rest = divmod(spec.size, tile.vector)

            def some(first: Expr, lanes: int) -> None:
                values = [x[image, channel, ramp(first, lanes)] for channel in channels]
                store(y, word(values, inverses, spec.zero_point, lanes), image, w, ramp(first, lanes))

            with TB.serial(0, whole) as i:
                some(i * tile.vector, tile.vector)
            if rest:
                with TB.serial(0, rest) as i:
                    some(whole * tile.vector + i, 1)

        full, ragged = divmod(spec.channels, WORD)
        with body(), TB.parallel(0, images * words) as task:
            image, w = task // words, task % words
            if not ragged:
                write(image, w, WORD)
            elif not full:
                write(image, w, ragged)
            else:
                with TB.If(w < full):
                    with TB.Then():
                        write(image, w, WORD)
                    with TB.Else():
                        write(image, w, ragged)
    return builder.get()


def _call(node: fx.Node) -> KernelCall:
    x, inverse, zero_point = node.args
    _, channels, size = x.meta["val"].shape
    return KernelCall(QuantizePlanesSpec(int(channels), int(size), zero_point), (x, inverse))


QUANTIZE_PLANES = KernelDef(
    name="quantize_planes",
    calls={"quantize_planes": _call},
    spec=QuantizePlanesSpec,
    emit=quantize_planes,
    costs=None,
    dtypes=("float32", "int8"),
    moves=True,
)
