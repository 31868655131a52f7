"""The definition of the kernel of attention to listed keys (oracle: ``l0compile::packed_block_attention``)."""

from typing import Any

from torch import fx

from l0compile.ir.nodes import arguments
from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.kernels.cpu.attention.block.code import block_attention
from l0compile.kernels.cpu.attention.block.costs import COSTS
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.mask import mask_spec
from l0compile.kernels.cpu.pair import PAIR
from l0compile.kernels.definition import KernelCall, KernelDef, given

_TENSORS = (
    "q", "k", "v", "key_rows", "value_rows", "full_counts", "full_blocks", "partial_counts", "partial_blocks",
    "pattern_numbers", "patterns", "column_counts", "columns", "mask", "bias",
)  # fmt: skip


def _call(node: fx.Node) -> KernelCall:
    own = arguments(node)
    mask, bias = own["mask"], own["bias"]
    attention = AttentionSpec(
        own["heads"], *_widths(own), own["scale"], None, None, None if mask is None else mask_spec(mask),
        0 if bias is None else int(bias.meta["val"].shape[0]), own["numbers"], softcap=own["softcap"],
    )  # fmt: skip
    spec = BlockAttentionSpec(
        attention, own["q_block"], own["k_block"], _axes(own["full_blocks"]), _axes(own["partial_blocks"]),
        _axes(own["pattern_numbers"]), _axes(own["columns"]), own["log_sum_exp"],
    )  # fmt: skip
    sizes = tuple(own[name] for name in ("batch", "queries", "keys"))
    return KernelCall(spec, given(*(own[name] for name in _TENSORS)), sizes, mask=mask)


def _widths(own: dict[str, Any]) -> tuple[int, int, int]:
    """Key heads, width of a key and of a value."""
    packed = own["k"] is not None
    words = PAIR if own["numbers"] == "bfloat16" else 1
    q, k, v = (
        int(own[name].meta["val"].shape[axis])
        for name, axis in (
            [("q", 1), ("k", 1), ("v", 1)] if packed else [("q", 1), ("key_rows", 2), ("value_rows", 2)]
        )
    )
    heads = own["heads"]
    kv_heads = key_heads(q, k * words, heads)
    return kv_heads, q // heads, v // kv_heads


def _axes(entries: fx.Node | None) -> ListAxes | None:
    if entries is None:
        return None
    batch, head = (not (isinstance(size, int) and size == 1) for size in entries.meta["val"].shape[:2])
    return ListAxes(batch, head)


BLOCK_ATTENTION = KernelDef(
    name="block_attention",
    calls={"packed_block_attention": _call},
    spec=BlockAttentionSpec,
    emit=block_attention,
    costs=COSTS,
    dtypes=("float32", "bfloat16", "int8"),
)
