"""PyTorch's Triton kernel for block-sparse layers, compiled without a GPU.

Needs ``triton``, the version that PyTorch's CUDA build asks for: 3.7.1 for 2.13. The kernel stands in
``torch/sparse/_triton_ops.py`` under a condition that no machine without a GPU meets, so its text is copied to a file
of its own, as Triton reads the source of what it compiles.
"""

import ast
import importlib.util
import textwrap
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

_NAME = "_bsr_strided_addmm_kernel"
# As ``torch.nn.functional.linear`` calls it: rows of blocks are contiguous, features of activations and results are
# neighbours, and there is no summand.
_CONSTANTS: dict[str, Any] = {
    "left_alpha_tiled_col_stride": 0, "left_alpha_col_block_stride": 0, "right_alpha_tiled_row_stride": 0,
    "right_alpha_row_block_stride": 0, "beta_is_one": True, "beta_is_nonzero": False, "alpha_is_one": True,
    "left_alpha_is_one": True, "right_alpha_is_one": True, "acc_dtype": triton.language.float32, "allow_tf32": False,
    "values_col_block_stride": 1, "crow_indices_stride": 1, "col_indices_stride": 1, "dense_row_block_stride": 1,
    "output_row_block_stride": 1, "GROUP_SIZE_ROW": 4, "SPLIT_N": 1,
}  # fmt: skip
_TYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}


def compiled(
    capability: int, dtype: str, block: int, tokens: int, warps: int, stages: int, folder: Path
) -> Any:
    """Compile the kernel; the result has ``asm["cubin"]`` and ``metadata.shared``.

    Args:
        capability: such as 80.
        dtype: of values, activations and results.
        block: rows and columns of a block.
        tokens: of a tile, Triton's BLOCKSIZE_COL.
        warps: of a thread block.
        stages: tiles in flight.
        folder: for the copy of the source.
    """
    kernel, names = _kernel(folder)
    constants = {
        **_CONSTANTS, "BLOCKSIZE_ROW": block, "BLOCKSIZE_INNER": block, "BLOCKSIZE_COL": tokens
    }  # fmt: skip
    signature = {name: _type(name, dtype, constants) for name in names}
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if name not in constants and name not in ("alpha", "beta")
    }
    source = ASTSource(
        kernel, signature, {(names.index(name),): value for name, value in constants.items()}, aligned
    )
    options = {"num_warps": warps, "num_stages": stages}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def _kernel(folder: Path) -> tuple[Any, list[str]]:
    text = (Path(torch.__file__).parent / "sparse" / "_triton_ops.py").read_text()
    found = next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == _NAME
    )
    lines = textwrap.dedent("\n".join(text.splitlines()[found.lineno - 1 : found.end_lineno]))
    file = folder / "triton_kernel.py"
    file.write_text(f"import triton\nimport triton.language as tl\n\n\n@triton.jit\n{lines}\n")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, _NAME), [argument.arg for argument in found.args.args]


def _type(name: str, dtype: str, constants: dict[str, Any]) -> str:
    if name in constants:
        return "constexpr"
    if name.endswith("_ptr"):
        return "*i64" if "indices" in name else f"*{_TYPES[dtype]}"
    return "fp32" if name in ("alpha", "beta") else "i32"
