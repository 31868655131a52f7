"""The definition of the attention kernel (oracle: ``l0compile::packed_attention``)."""

from collections.abc import Mapping
from math import ceil

import numpy as np
from torch import fx

from l0compile.hardware.costs import KernelWorkload, Machine
from l0compile.ir.nodes import arguments
from l0compile.ir.ops.attention.multi_head import key_heads
from l0compile.kernels.cpu.attention.code import attention
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.mask import MaskSpec, mask_spec
from l0compile.kernels.cpu.pair import PAIR
from l0compile.kernels.cpu.word_form import FORMS, word_form
from l0compile.kernels.definition import (
    KernelCall,
    KernelCosts,
    KernelDef,
    KernelOperands,
    example_number,
    given,
    packed_array,
)
from l0compile.kernels.token_tile import TokenTile

_KEY_MASK = MaskSpec((True, False, False, True), True)
_NO_LIMIT = 1 << 30


def _call(node: fx.Node) -> KernelCall:
    own = arguments(node)
    q, k, v, mask, bias, inverse, heads, numbers, *sizes = (own[name] for name in (
        "q", "k", "v", "mask", "bias", "inverse", "heads", "numbers", "batch", "queries", "keys",
    ))  # fmt: skip
    widths = [int(t.meta["val"].shape[1]) for t in (q, k, v)]
    widths[1] *= PAIR if numbers == "bfloat16" else 1
    kv_heads = key_heads(widths[0], widths[1], heads)
    spec = AttentionSpec(
        heads, kv_heads, widths[0] // heads, widths[2] // kv_heads, own["scale"], own["before"], own["after"],
        None if mask is None else mask_spec(mask), 0 if bias is None else int(bias.meta["val"].shape[0]), numbers,
        word_form(inverse, own["zero_point"], own["pairs"]), own["softcap"],
    )  # fmt: skip
    return KernelCall(spec, given(q, k, v, mask, bias, inverse), tuple(sizes), mask=mask)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    """Its shape is (query heads, key heads, width of a head, of a value, queries and keys of a sequence).

    A window adds how far a query sees before and after its position; "causal" is the window that ends
    at a query.
    """
    spec = call.spec
    batch, queries, keys = map(example_number, call.sizes)
    shape = (spec.heads, spec.kv_heads, spec.dim, spec.value_dim, queries, keys)
    causal = spec.before is None and spec.after == 0
    window = not causal and (spec.before, spec.after) != (None, None)
    if window:
        shape = (*shape, *(_NO_LIMIT if limit is None else limit for limit in (spec.before, spec.after)))
    flags = {"causal": causal, "window": window, "mask": spec.mask is not None, "bias": spec.bias_heads > 0,
             "softcap": spec.softcap != 0}  # fmt: skip
    words = [word for word, on in flags.items() if on] + ([spec.result.name] if spec.result else [])
    variant = "+".join(words)
    return KernelWorkload("attention", shape, tokens=batch * queries, variant=variant, dtype=spec.numbers)


def _spec(workload: KernelWorkload, _: TokenTile) -> AttentionSpec | None:
    words = workload.words
    if len(workload.shape) != (8 if "window" in words else 6):
        return None
    if 0 in workload.shape[:2] or not workload.shape[4]:
        return None
    heads, kv_heads, dim, value_dim = workload.shape[:4]
    mask = _KEY_MASK if "mask" in words else None
    result = next((FORMS[word] for word in words if word in FORMS), None)
    return AttentionSpec(
        heads, kv_heads, dim, value_dim, dim**-0.5, *_limits(workload), mask, int("bias" in words),
        "bfloat16" if workload.dtype == "bfloat16" else "float32", result, 30.0 if "softcap" in words else 0.0,
    )  # fmt: skip


def _limits(workload: KernelWorkload) -> tuple[int | None, int | None]:
    """How far a query sees before and after its position."""
    if "window" not in workload.words:
        return None, 0 if "causal" in workload.words else None
    before, after = (None if limit == _NO_LIMIT else limit for limit in workload.shape[6:])
    return before, after


def _counts(workload: KernelWorkload, machine: Machine) -> Mapping[str, float]:
    heads, _, dim, value_dim, queries, keys = workload.shape[:6]
    lanes = heads * machine.computed(workload.tokens) / machine.threads
    sequences = min(
        max(1, workload.tokens // max(1, queries)), ceil(machine.register_tokens / max(1, queries))
    )
    walked: float = keys * sequences
    if "causal" in workload.words and queries > machine.register_tokens:
        walked = (keys + machine.register_tokens) / 2  # blocks of queries see the keys up to their own
    elif "window" in workload.words:
        walked = sequences * _seen(queries, keys, *_limits(workload), machine.register_tokens)
    scores = lanes * walked
    return {
        "launch": 1,
        f"attention: multiplication{'' if workload.dtype == 'float32' else ' ' + workload.dtype}": scores
        * (dim + value_dim),
        "attention: score": scores,
        "attention: output": lanes * value_dim,
        **{f"attention: score, {word}": scores for word in workload.words if word not in FORMS},
        **{f"attention: output, {word}": lanes * value_dim for word in workload.words if word in FORMS},
    }


def _seen(queries: int, keys: int, before: int | None, after: int | None, block: int) -> float:
    """How many keys a block of queries walks, on average."""
    first = np.arange(0, queries, block)
    last = np.minimum(first + block, queries) - 1
    low = np.zeros_like(first) if before is None else np.maximum(first - before, 0)
    high = np.full_like(last, keys) if after is None else np.minimum(last + after + 1, keys)
    return float(np.maximum(high - low, 0).mean())


def _operands(
    spec: AttentionSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    """Every query sees every key of its window."""
    queries, keys = workload.shape[4:6]
    batch = max(1, workload.tokens // queries)
    q, y = (
        packed_array(spec.heads * width, workload.tokens, tile, random)
        for width in (spec.dim, spec.value_dim)
    )
    k, v = (
        packed_array(spec.kv_heads * width, batch * keys, tile, random)
        for width in (spec.dim, spec.value_dim)
    )
    if spec.pairs:
        k, v = (np.zeros((len(t), *places), np.int32) for t, places in (
            (k, (k.shape[1] // PAIR, tile.lanes)), (v, (v.shape[1], tile.lanes // PAIR)),
        ))  # fmt: skip
    mask = [] if spec.mask is None else [np.ones((batch, 1, 1, keys), np.bool_)]
    bias = [np.zeros((spec.bias_heads, len(q), keys, tile.lanes), np.float32)] if spec.bias_heads else []
    scales = []
    if spec.result:
        y = np.zeros((len(q), *spec.result.extents(y.shape[1], tile.lanes)), np.int32)
        scales = [np.ones(spec.heads * spec.value_dim, np.float32)] if spec.result.numbers == "int8" else []
    return KernelOperands((q, k, v, *mask, *bias, *scales, batch, queries, keys, y))


ATTENTION = KernelDef(
    name="attention",
    calls={"packed_attention": _call},
    spec=AttentionSpec,
    emit=attention,
    costs=KernelCosts(
        _workload, _spec, _counts, _operands, words=("causal", "window", "mask", "bias", "softcap", *FORMS)
    ),
    dtypes=("float32", "bfloat16"),
)
