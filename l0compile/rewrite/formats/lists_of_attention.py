"""The constant lists of an attention, read back from its node: what they show, and what they cost."""

from typing import Any

from torch import Tensor, fx

from l0compile.hardware.costs import KernelWorkload
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, example_size, is_static, shape
from l0compile.ir.ops.attention.block import program_of
from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.ir.ops.attention.row_program import RowProgram

OPERANDS = (
    "full_counts", "full_blocks", "partial_counts", "partial_blocks", "pattern_numbers", "patterns", "column_counts",
    "columns",
)  # fmt: skip
"""The operands of a ``block_attention`` that are its lists, in the order of ``RowProgram.operands``."""
_LISTS = ("full_counts", "partial_counts", "column_counts")


def constant_program(editor: Editor, node: fx.Node) -> RowProgram | None:
    """The row program of a ``block_attention`` node; None where a list is no constant or a length is symbolic."""
    given = arguments(node)
    operands: list[Tensor | None] = []
    for name in OPERANDS:
        value = None if given[name] is None else editor.value(given[name])
        if value is None and given[name] is not None:
            return None
        operands.append(value)
    if not (is_static(shape(given["q"])[1]) and is_static(shape(given["k"])[1])):
        return None
    return program_of(tuple(operands), given["q_block"], given["k_block"])


def listed_shares(program: RowProgram, heads: int, keys: int) -> list[float]:
    """The share of the keys that rows list, for each head."""
    shares = [0.0] * heads
    for lists, width in (
        (program.full, program.k_block),
        (program.partial, program.k_block),
        (program.columns, 1),
    ):
        if lists is not None:
            of_head = (lists.counts.double().mean((0, 2)) * width / max(1, keys)).tolist()
            shares = [share + of_head[head % len(of_head)] for head, share in enumerate(shares)]
    return [min(1.0, share) for share in shares]


def workload_of(node: fx.Node, density: float) -> KernelWorkload:
    """What the costs of kernels call this attention; see the definition of its kernel."""
    given = arguments(node)
    (batch, queries, q_width), (_, keys, k_width) = (map(example_size, shape(given[name])) for name in "qk")
    heads = int(given["heads"])
    kv = key_heads(q_width, k_width, heads)
    sizes = (heads, kv, q_width // heads, example_size(shape(given["v"])[2]) // kv, queries, keys)
    words = [name.partition("_")[0] for name in _LISTS if given[name] is not None]
    words = ["columns" if word == "column" else word for word in words] + _marks(given)
    return KernelWorkload(
        "block_attention", (*sizes, given["q_block"], given["k_block"]), None, max(density, 1e-4), batch * queries,
        "+".join(words), given["numbers"],
    )  # fmt: skip


def _marks(given: dict[str, Any]) -> list[str]:
    found = {
        "mask": given["mask"],
        "bias": given["bias"],
        "softcap": given["softcap"],
        "logarithms": given["log_sum_exp"],
    }
    return [
        word for word, value in found.items() if value is not None and value is not False and value != 0.0
    ]
