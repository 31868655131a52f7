"""The linear kernels of l0compile on the grid: one library per shape, for any number of tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from harness.linear_grid import BLOCKS, DENSITIES, Block, block_name, tokens_of
from l0compile.hardware._tvm import runtime, tvm, tvm_target
from l0compile.hardware.targets import load_target
from l0compile.kernels import emit
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.token_tile import token_tile

Case = tuple[int, Block, float]  # tokens, block, share of the blocks that are kept


def build(shape: tuple[int, int], folder: Path) -> None:
    """Write the library of a shape, with one function for each block shape."""
    target = load_target("native")
    tile = token_tile(target)
    functions = {}
    for block in BLOCKS:
        rows, cols = block or (tile.rows, 1)
        spec = LinearSpec(*shape, rows, cols, block is None, True, False, "", tail=None)
        functions[block_name(block)] = emit(spec, tile).with_attr("global_symbol", block_name(block))
    library = tvm.compile(tvm.IRModule(functions), target=tvm_target(target))
    library.export_library(str(_path(shape, folder)))


def calls(shape: tuple[int, int], folder: Path) -> Iterator[tuple[Case, float, Any]]:
    """Iterate over the points of a shape: (case, share of the weights that is stored, call).

    Activations are packed, as they are inside a model.
    """
    torch.set_num_threads(1)  # its waiting threads would share the cores with ours
    torch.manual_seed(0)
    library, lanes = runtime.load_module(str(_path(shape, folder))), token_tile(load_target("native")).lanes
    n, k = shape
    packed = {
        tokens: [runtime.from_dlpack(torch.randn(-(-tokens // lanes), width, lanes)) for width in (k, n)]
        for tokens in tokens_of(shape)
    }
    bias = runtime.from_dlpack(torch.randn(n))
    for block in BLOCKS:
        for density in (1.0,) if block is None else DENSITIES:
            weight, stored = _weight(shape, block, density)
            for tokens in tokens_of(shape):
                x, y = packed[tokens]
                arguments = (x, *weight, bias, tokens, y)
                function = library[block_name(block)]
                yield (
                    (tokens, block, density),
                    stored,
                    lambda function=function, a=arguments: function(*a),
                )


def _weight(shape: tuple[int, int], block: Block, density: float) -> tuple[list[Any], float]:
    """Make random blocks in random places."""
    rows, cols = block or (token_tile(load_target("native")).rows, 1)
    row_blocks, col_blocks = -(-shape[0] // rows), -(-shape[1] // cols)
    if block is None:
        parts = [torch.randn(row_blocks * col_blocks, cols, rows)]
    else:
        live = torch.rand(row_blocks, col_blocks) < density
        begins = torch.zeros(row_blocks + 1, dtype=torch.int32)
        begins[1:] = live.sum(1).cumsum(0)
        columns = live.nonzero()[:, 1].to(torch.int32)
        parts = [torch.randn(len(columns), cols, rows), columns, begins]
    stored = parts[0].shape[0] / (row_blocks * col_blocks)
    return [runtime.from_dlpack(part) for part in parts], stored


def _path(shape: tuple[int, int], folder: Path) -> Path:
    return folder / f"linear_{shape[0]}_{shape[1]}.so"
