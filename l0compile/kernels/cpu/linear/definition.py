"""The definition of the linear kernel (oracle: ``l0compile::packed_linear``)."""

from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from l0compile.hardware.costs import KernelWorkload, Machine
from l0compile.ir.nodes import arguments, example_size, shape
from l0compile.kernels.cpu.dot import WORD
from l0compile.kernels.cpu.lanes import ACTIVATIONS
from l0compile.kernels.cpu.linear.code import WORD_TYPES, linear
from l0compile.kernels.cpu.linear.schedules import cycles_bound, default_schedule, legal_schedules
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.cpu.pair import PAIR
from l0compile.kernels.cpu.word_form import FORMS, word_form
from l0compile.kernels.definition import (
    KernelCall,
    KernelCosts,
    KernelDef,
    KernelOperands,
    Schedules,
    example_tokens,
    given,
    known_tail,
    packed_array,
)
from l0compile.kernels.token_tile import TokenTile


def _call(node: fx.Node) -> KernelCall:
    """Of ``packed_linear`` and its forms for narrow numbers, which have more arguments."""
    own = arguments(node)
    x, data = own["x"], own["data"]
    _, cols, rows = data.meta["val"].shape
    tail, sizes = known_tail(x, own["tokens"])
    spec = LinearSpec(
        n=own["n"], k=int(x.meta["val"].shape[1]), rows=int(rows), cols=int(cols), dense=own["indices"] is None,
        bias=own["bias"] is not None, residual=own["residual"] is not None, activation=own["activation"],
        tail=tail, numbers=_NUMBERS[node.target],
        result=word_form(own.get("inverse"), own.get("zero_point", 0), own.get("pairs", "")),
        fits16=own.get("fits16", False),
    )  # fmt: skip
    return KernelCall(spec, given(*(own.get(name) for name in _TENSORS)), sizes)


_NUMBERS: dict[Any, Any] = {
    torch.ops.l0compile.packed_linear.default: "float32",
    torch.ops.l0compile.packed_bfloat16_linear.default: "bfloat16",
    torch.ops.l0compile.packed_int8_linear.default: "int8",
}
_TENSORS = ("x", "data", "indices", "indptr", "start", "scale", "bias", "residual", "inverse")


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    spec, each = call.spec, features_of(call.spec.numbers)
    stored, cols, rows = map(example_size, shape(call.tensors[1]))
    density = min(1.0, stored / (ceil(spec.n / rows) * ceil(spec.k / cols)))
    words = (spec.activation, "residual" if spec.residual else "", spec.result.name if spec.result else "")
    return KernelWorkload(
        "linear", (spec.n, each * spec.k), None if spec.dense else (spec.rows, each * spec.cols), density,
        example_tokens(node, call), "+".join(word for word in words if word), spec.numbers,
    )  # fmt: skip


def features_of(numbers: str) -> int:
    """Features of a column of the weight as the kernel counts them."""
    return {"int8": WORD, "bfloat16": PAIR}.get(numbers, 1)


def _spec(workload: KernelWorkload, tile: TokenTile) -> LinearSpec | None:
    result = next((FORMS[word] for word in workload.words if word in FORMS), None)
    activations = [word for word in workload.words if word not in ("residual", *FORMS)] or [""]
    if len(workload.shape) != 2 or len(activations) > 1 or activations[0] not in ACTIVATIONS:
        return None
    each = features_of(workload.dtype)
    (n, k), (rows, cols) = workload.shape, workload.block or (tile.rows, each)
    numbers: Any = workload.dtype
    if workload.dtype not in WORD_TYPES or cols % each:
        return None
    if result and (workload.dtype == "float32" or n % rows or rows % result.features):
        return None
    return LinearSpec(
        n, ceil(k / each), rows, cols // each, workload.block is None, True, "residual" in workload.words,
        activations[0], workload.tokens % tile.lanes, numbers, result,
    )  # fmt: skip


def _counts(workload: KernelWorkload, machine: Machine) -> Mapping[str, float]:
    n, k = workload.shape
    each = features_of(workload.dtype)
    rows, cols = workload.block or (4, each)
    kind = "dense" if workload.block is None else f"{rows}x{cols}"
    kind = kind if workload.dtype == "float32" else f"{workload.dtype} {kind}"
    cols, k = cols // each, ceil(k / each)
    tiles, tokens = ceil(workload.tokens / machine.tile_tokens), machine.computed(workload.tokens)
    # The block rows of every tile are cut in one share for each thread.
    share = machine.share(ceil(n / rows))
    stored_share = share * ceil(k / cols) * workload.density
    outputs = share * rows * tokens
    multiplications = stored_share * rows * cols * tokens
    tile_bytes = 4 * k * machine.tile_tokens
    stored = workload.density * n * k
    return {
        "launch": 1,
        f"multiplication {kind}": multiplications,
        f"multiplication {kind}, tokens beyond the second cache": multiplications
        * min(1.0, tile_bytes / machine.l2_bytes),
        f"block {kind}": tiles * stored_share,
        f"output {kind}": outputs,
        "byte of weights": 4 * stored + (0 if workload.block is None else 4 * stored / (rows * cols)),
        **{f"output, {word}": outputs for word in workload.words},
    }


def _operands(
    spec: LinearSpec, workload: KernelWorkload, tile: TokenTile, random: np.random.Generator
) -> KernelOperands:
    """Blocks are kept at random places, as pruning leaves them."""
    rows, columns = ceil(spec.n / spec.rows), ceil(spec.k / spec.cols)
    stored = rows * columns if spec.dense else max(1, round(rows * columns * workload.density))
    weights: list[NDArray[np.generic]] = [_numbers(spec, (stored, spec.cols, spec.rows), random)]
    if not spec.dense:
        places = np.sort(random.permutation(rows * columns)[:stored])
        begins = np.searchsorted(places, np.arange(rows + 1) * columns)
        weights += [(places % columns).astype(np.int32), begins.astype(np.int32)]
    if spec.numbers == "int8":
        weights += [np.zeros(spec.n, np.int32), np.full(spec.n, 1e-4, np.float32)]
    weights.append(random.standard_normal(spec.n, np.float32))
    tiles, others = ceil(workload.tokens / tile.lanes), list[NDArray[np.generic]]()
    if spec.result:
        scales = [np.ones(spec.n, np.float32)] if spec.result.numbers == "int8" else []
        others = [*scales, np.zeros((tiles, *spec.result.extents(spec.n, tile.lanes)), np.int32)]
    else:
        others = [packed_array(spec.n, workload.tokens, tile, random) for _ in range(1 + spec.residual)]
    x = _numbers(spec, (tiles, spec.k, tile.lanes), random)
    return KernelOperands((x, *weights, *others), range(1, 1 + len(weights)))


def _numbers(spec: LinearSpec, extents: tuple[int, ...], random: np.random.Generator) -> NDArray[np.generic]:
    if spec.numbers == "float32":
        return random.standard_normal(extents, np.float32)
    if spec.numbers == "bfloat16":
        # The high halves of float32 numbers, side by side.
        halves = random.standard_normal((*extents, PAIR), np.float32).view(np.uint16)[..., 1::2]
        return np.ascontiguousarray(halves).view(np.int32)[..., 0]
    return random.integers(np.iinfo(np.int32).min, np.iinfo(np.int32).max, extents, np.int32)


LINEAR = KernelDef(
    name="linear",
    calls=dict.fromkeys(("packed_linear", "packed_bfloat16_linear", "packed_int8_linear"), _call),
    spec=LinearSpec,
    emit=linear,
    costs=KernelCosts(
        _workload, _spec, _counts, _operands, words=("residual", "gelu", "silu", "relu", *FORMS)
    ),
    schedules=Schedules(LinearSchedule, default_schedule, legal_schedules, cycles_bound),
    dtypes=("float32", "bfloat16", "int8"),
    light=True,
)
