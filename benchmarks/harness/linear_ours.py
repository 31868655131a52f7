"""The linear kernels of l0compile on the grid: one library per shape, for any number of tokens."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from harness.linear_grid import DENSITIES, Block, block_name, blocks_of, tokens_of
from l0compile.hardware._tvm import runtime, tvm, tvm_target
from l0compile.hardware.targets import load_target
from l0compile.kernels import adds_in_16_bits, emit
from l0compile.kernels.cpu.linear.definition import features_of
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.token_tile import token_tile
from l0compile.rewrite.layout.split_words import fitting_blocks

Case = tuple[int, Block, float]  # tokens, block, share of the blocks that are kept


def build(shape: tuple[int, int], folder: Path, numbers: str = "float32") -> None:
    """Write the library of a shape, with one function for each block shape, and of parts that fit 16 bits."""
    target = load_target("native")
    tile = token_tile(target)
    functions, each = {}, features_of(numbers)
    for block in blocks_of(numbers):
        rows, cols = block or (tile.rows, each)
        sizes = (shape[0], -(-shape[1] // each), rows, cols // each)
        spec = LinearSpec(*sizes, block is None, True, False, "", tail=None, numbers=numbers)
        functions[block_name(block)] = emit(spec, tile).with_attr("global_symbol", block_name(block))
        if numbers == "int8" and adds_in_16_bits(tile):
            name = _of_parts(rows)
            spec = dataclasses.replace(spec, rows=_part_rows(rows), cols=1, dense=False, fits16=True)
            functions[name] = emit(spec, tile).with_attr("global_symbol", name)
    library = tvm.compile(tvm.IRModule(functions), target=tvm_target(target))
    library.export_library(str(_path(shape, folder)))


def calls(
    shape: tuple[int, int], folder: Path, numbers: str = "float32", uniform: bool = False
) -> Iterator[tuple[Case, float, Any]]:
    """Iterate over the points of a shape: (case, share of the weights that is stored, call).

    Activations are packed, as they are inside a model.
    """
    torch.set_num_threads(1)  # its waiting threads would share the cores with ours
    torch.manual_seed(0)
    library, lanes = runtime.load_module(str(_path(shape, folder))), token_tile(load_target("native")).lanes
    n, k = shape[0], -(-shape[1] // features_of(numbers))
    packed = {
        tokens: [
            runtime.from_dlpack(_numbers(numbers, -(-tokens // lanes), k, lanes)),
            runtime.from_dlpack(torch.zeros(-(-tokens // lanes), n, lanes)),
        ]
        for tokens in tokens_of(shape)
    }
    after = [torch.randn(n)]
    if numbers == "int8":
        after = [torch.zeros(n, dtype=torch.int32), torch.rand(n), *after]
    rest = [runtime.from_dlpack(tensor) for tensor in after]
    for block in blocks_of(numbers):
        for density in (1.0,) if block is None else DENSITIES:
            weight, stored = _weight((n, k), block, density, numbers, uniform)
            name, weight = _as_compiled(block, weight, (n, k), numbers)
            given = [runtime.from_dlpack(part) for part in weight]
            for tokens in tokens_of(shape):
                x, y = packed[tokens]
                arguments = (x, *given, *rest, tokens, y)
                function = library[name]
                yield (
                    (tokens, block, density),
                    stored,
                    lambda function=function, a=arguments: function(*a),
                )


def _numbers(numbers: str, *shape: int) -> torch.Tensor:
    """Random numbers, or words of them."""
    if numbers == "float32":
        return torch.randn(*shape)
    if numbers == "bfloat16":
        return torch.randn(*shape, 2).bfloat16().view(torch.int32)[..., 0].contiguous()
    return torch.randint(-(2**31), 2**31, shape, dtype=torch.int64).to(torch.int32)


def _part_rows(rows: int) -> int:
    return 4 if rows % 4 == 0 else rows


def _of_parts(rows: int) -> str:
    return f"parts of {_part_rows(rows)} rows"


def _as_compiled(
    block: Block, weight: list[torch.Tensor], shape: tuple[int, int], numbers: str
) -> tuple[str, list[torch.Tensor]]:
    """(the function, the weight): in parts that fit 16 bits, where the compiler would split it."""
    if numbers == "int8" and adds_in_16_bits(token_tile(load_target("native"))):
        data, *places = weight
        found = fitting_blocks(data, *(places or (None, None)), *shape)
        if found is not None:
            return _of_parts(data.shape[2]), list(found[0].values())
    return block_name(block), weight


def _weight(
    shape: tuple[int, int], block: Block, density: float, numbers: str, uniform: bool
) -> tuple[list[torch.Tensor], float]:
    """Make random blocks in random places; ``shape`` counts columns in words.

    Of int8 they are those of normal numbers, rounded with a scale for each row as trained ones are, unless ``uniform``.
    """
    rows, cols = block or (token_tile(load_target("native")).rows, features_of(numbers))
    cols //= features_of(numbers)
    row_blocks, col_blocks = -(-shape[0] // rows), -(-shape[1] // cols)
    if block is None:
        parts = [_numbers(numbers, row_blocks * col_blocks, cols, rows)]
        row = torch.arange(row_blocks).repeat_interleave(col_blocks)
    else:
        live = torch.rand(row_blocks, col_blocks) < density
        begins = torch.zeros(row_blocks + 1, dtype=torch.int32)
        begins[1:] = live.sum(1).cumsum(0)
        columns = live.nonzero()[:, 1].to(torch.int32)
        parts = [_numbers(numbers, len(columns), cols, rows), columns, begins]
        row = live.nonzero()[:, 0]
    if numbers == "int8" and not uniform:
        parts[0] = _normal_words(parts[0].shape, row, row_blocks)
    return parts, parts[0].shape[0] / (row_blocks * col_blocks)


def _normal_words(extents: torch.Size, row: torch.Tensor, row_blocks: int) -> torch.Tensor:
    """Blocks [nnz, words, rows]; ``row`` [nnz]: the block row of each."""
    values = torch.randn(*extents, features_of("int8"))
    largest = torch.zeros(row_blocks, extents[2])
    largest.index_reduce_(0, row, values.abs().amax((1, 3)), "amax")
    scaled = values * (127 / largest[row])[:, None, :, None]
    return scaled.round().to(torch.int8).view(torch.int32)[..., 0].contiguous()


def _path(shape: tuple[int, int], folder: Path) -> Path:
    return folder / f"linear_{shape[0]}_{shape[1]}.so"
