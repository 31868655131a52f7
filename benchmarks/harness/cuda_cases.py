"""CUDA kernels whose compiled code is on record: what a model's layers ask for, in each type of numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from l0compile.hardware.targets import Target
from l0compile.kernels.cpu.attention.block.spec import ListAxes
from l0compile.kernels.cuda.attention.code import cuda_attention, cuda_block_attention
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec, CudaBlockAttentionSpec, MaskOperand
from l0compile.kernels.cuda.integers.code import cuda_int8_linear
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.spec import CudaLinearSpec
from l0compile.kernels.cuda.two_of_four.code import cuda_two_of_four_linear
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec

_BLOCKS = ((0, 0), (16, 16), (32, 32), (64, 64), (128, 64), (128, 128), (64, 1))
_NUMBERS = ("float16", "bfloat16", "tf32", "float32")
# Which of batch, head, query and key have a mask of their own: keys that are padding, or each score.
_MASKS = {"keys": (True, False, False, True), "scores": (True, False, True, True)}


@dataclass(frozen=True)
class CudaCase:
    """A kernel to compile.

    Attributes:
        name: such as "linear 64x64 bfloat16".
        tensor_cores: it should use them.
        least: the first architecture that has its numbers, such as 80.
        emit: makes its function for a target.
    """

    name: str
    tensor_cores: bool
    least: int
    emit: Callable[[Target], Any]


def cuda_cases() -> dict[str, CudaCase]:
    """Name -> case: linear layers of 768 features with bias, GELU and residual, and attention."""
    made = [_linear(block, numbers) for block in _BLOCKS for numbers in _NUMBERS]
    made += [_integers(block, rounded=False) for block in _BLOCKS if block[1] % 16 == 0]
    made += [_integers(block, rounded=True) for block in ((0, 0), (64, 64))]
    made += [_two_of_four(numbers, few) for numbers in ("float16", "bfloat16") for few in (False, True)]
    made += [_attention(width, numbers) for width in (64, 128) for numbers in _NUMBERS if numbers != "tf32"]
    made += [
        _masked(kind, width, numbers)
        for kind in _MASKS
        for width in (64, 128)
        for numbers in ("float16", "bfloat16")
    ]
    made += [_listed(width, numbers) for width in (64, 128) for numbers in ("float16", "bfloat16")]
    return {case.name: case for case in made}


def _linear(block: tuple[int, int], numbers: str) -> CudaCase:
    tf32 = numbers == "tf32"
    spec = CudaLinearSpec(
        768, 768, *block, "float32" if tf32 else numbers, bias=True, residual=True, order=block[0] > 0,
        activation="gelu", tf32=tf32,
    )  # fmt: skip
    shape = "dense" if block[0] == 0 else f"{block[0]}x{block[1]}"
    return CudaCase(
        f"linear {shape} {numbers}",
        numbers != "float32",
        _least(numbers),
        lambda target: cuda_linear(spec, target),
    )


def _integers(block: tuple[int, int], rounded: bool) -> CudaCase:
    """A layer of 8-bit integers; ``rounded``: so are its results, and it has no residual."""
    spec = CudaIntegerLinearSpec(
        768, 192, block[0], block[1] // 16, bias=True, residual=not rounded, order=block[0] > 0, activation="gelu",
        zero_point=100 if rounded else None,
    )  # fmt: skip
    shape, numbers = (
        "dense" if block[0] == 0 else f"{block[0]}x{block[1]}",
        "int8 to int8" if rounded else "int8",
    )
    return CudaCase(f"linear {shape} {numbers}", True, 75, lambda target: cuda_int8_linear(spec, target))


def _two_of_four(numbers: str, few: bool) -> CudaCase:
    """A layer with two of each four weights; ``few``: of no more than 16 tokens."""
    spec = CudaTwoOfFourSpec(768, 768, numbers, bias=True, residual=True, activation="gelu", few=few)
    name = f"linear 2:4 {numbers}{' few' if few else ''}"
    return CudaCase(name, True, 80, lambda target: cuda_two_of_four_linear(spec, target))


def _attention(width: int, numbers: str) -> CudaCase:
    spec = CudaAttentionSpec(12, 12, width, width, width**-0.5, numbers)
    return CudaCase(
        f"attention {width} {numbers}",
        numbers != "float32",
        _least(numbers),
        lambda target: cuda_attention(spec, target),
    )


def _masked(kind: str, width: int, numbers: str) -> CudaCase:
    mask = MaskOperand(_MASKS[kind], "bool" if kind == "keys" else numbers)
    spec = CudaAttentionSpec(12, 12, width, width, width**-0.5, numbers, mask=mask)
    return CudaCase(
        f"attention with masked {kind} {width} {numbers}",
        True,
        _least(numbers),
        lambda target: cuda_attention(spec, target),
    )


def _listed(width: int, numbers: str) -> CudaCase:
    spec = CudaBlockAttentionSpec(
        CudaAttentionSpec(12, 12, width, width, width**-0.5, numbers), 128, 64, full=ListAxes(False, True)
    )
    return CudaCase(
        f"listed attention {width} {numbers}",
        True,
        _least(numbers),
        lambda target: cuda_block_attention(spec, target),
    )


def _least(numbers: str) -> int:
    return 80 if numbers in ("bfloat16", "tf32") else 75
