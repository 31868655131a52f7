"""The definition of the linear kernel (oracle: ``l0compile::packed_linear``)."""

from collections.abc import Mapping
from math import ceil

import numpy as np
from numpy.typing import NDArray
from torch import fx

from l0compile.hardware.costs import KernelWorkload, Machine
from l0compile.ir.nodes import example_size, shape
from l0compile.kernels.cpu.lanes import ACTIVATIONS
from l0compile.kernels.cpu.linear.code import linear
from l0compile.kernels.cpu.linear.schedules import cycles_bound, default_schedule, legal_schedules
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
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
    x, data, indices, indptr, bias, residual, n, activation, *tokens = node.args
    _, cols, rows = data.meta["val"].shape
    tail, sizes = known_tail(x, *tokens)
    spec = LinearSpec(
        n=n, k=int(x.meta["val"].shape[1]), rows=int(rows), cols=int(cols), dense=indices is None,
        bias=bias is not None, residual=residual is not None, activation=activation, tail=tail,
    )  # fmt: skip
    return KernelCall(spec, given(x, data, indices, indptr, bias, residual), sizes)


def _workload(node: fx.Node, call: KernelCall) -> KernelWorkload:
    spec = call.spec
    stored, cols, rows = map(example_size, shape(call.tensors[1]))
    density = min(1.0, stored / (ceil(spec.n / rows) * ceil(spec.k / cols)))
    words = (spec.activation, "residual" if spec.residual else "")
    return KernelWorkload(
        "linear", (spec.n, spec.k), None if spec.dense else (spec.rows, spec.cols), density,
        example_tokens(node, call), "+".join(word for word in words if word),
    )  # fmt: skip


def _spec(workload: KernelWorkload, tile: TokenTile) -> LinearSpec | None:
    activations = [word for word in workload.words if word != "residual"] or [""]
    if len(workload.shape) != 2 or len(activations) > 1 or activations[0] not in ACTIVATIONS:
        return None
    (n, k), (rows, cols), residual = (
        workload.shape,
        workload.block or (tile.rows, 1),
        "residual" in workload.words,
    )
    tail = workload.tokens % tile.lanes
    return LinearSpec(n, k, rows, cols, workload.block is None, True, residual, activations[0], tail)


def _counts(workload: KernelWorkload, machine: Machine) -> Mapping[str, float]:
    n, k = workload.shape
    rows, cols = workload.block or (4, 1)
    kind = "dense" if workload.block is None else f"{rows}x{cols}"
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
    weights: list[NDArray[np.generic]] = [random.standard_normal((stored, spec.cols, spec.rows), np.float32)]
    if not spec.dense:
        places = np.sort(random.permutation(rows * columns)[:stored])
        begins = np.searchsorted(places, np.arange(rows + 1) * columns)
        weights += [(places % columns).astype(np.int32), begins.astype(np.int32)]
    weights.append(random.standard_normal(spec.n, np.float32))
    x, *others = (
        packed_array(features, workload.tokens, tile, random)
        for features in (spec.k, *[spec.n] * (1 + spec.residual))
    )
    return KernelOperands((x, *weights, *others), range(1, 1 + len(weights)))


LINEAR = KernelDef(
    name="linear",
    calls={"packed_linear": _call},
    spec=LinearSpec,
    emit=linear,
    costs=KernelCosts(_workload, _spec, _counts, _operands, words=("residual", "gelu", "silu", "relu")),
    schedules=Schedules(LinearSchedule, default_schedule, legal_schedules, cycles_bound),
)
