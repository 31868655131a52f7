"""Which way to store a weight is quickest: by what kernels take on the device, or by the target's table."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from l0compile.costs import Costs, Work
from l0compile.ops.bsr import nonzero_blocks
from l0compile.targets import Target

# Block-sparse must take this share of the dense time or less: a tie is not worth another format.
HYSTERESIS = 0.95


@dataclass(frozen=True)
class Choice:
    """One way to store a weight.

    block: its shape; None: dense. kept: share of its blocks. time: of a call, dense = 1. source: how that is known.
    """

    block: tuple[int, int] | None
    kept: float
    time: float
    source: Literal["measured", "predicted"] = "predicted"


@dataclass(frozen=True)
class Layers:
    """What linear layers of ``tokens`` tokens take, as far as ``costs`` tell."""

    costs: Costs
    tokens: int

    def dense_ms(self, shape: tuple[int, ...]) -> float | None:
        """Milliseconds of a dense layer with a weight of ``shape``; None where nothing tells."""
        found = self.costs.estimate(Work("linear", shape, tokens=self.tokens)) if len(shape) == 2 else None
        return found.ms if found else None

    def sparse(self, shape: tuple[int, ...], block: tuple[int, int], kept: float) -> Choice | None:
        """Storing ``kept`` of the blocks; None where nothing tells."""
        dense = self.costs.estimate(Work("linear", shape, tokens=self.tokens))
        sparse = self.costs.estimate(Work("linear", shape, block, kept, self.tokens))
        if dense is None or sparse is None:
            return None
        measured = dense.source == sparse.source == "measured"
        return Choice(block, kept, sparse.ms / dense.ms, "measured" if measured else "predicted")


def choose(
    weight: Tensor, target: Target, layers: Layers | None = None, dense_time: float = 1.0
) -> tuple[Choice, str]:
    """The best format of a weight [n, k] on a target, and the reason in words.

    dense_time: of the dense kernel, over that of one which is block-sparse but for its efficiency in the table.
    """
    dense = Choice(None, 1.0, 1.0)
    if weight.dtype != torch.float32:
        return dense, f"dense: block-sparse kernels take float32, the weight is {weight.dtype}"
    choices = list(_block_choices(weight, target, layers, dense_time))
    if not choices:
        return dense, f"dense: target {target.name} has no block-sparse kernel"
    best = min(choices, key=lambda choice: choice.time)
    rows, cols = best.block or (1, 1)
    kept = f"{best.kept:.3f} of the {rows}x{cols} blocks kept"
    if best.time <= HYSTERESIS:
        return best, f"{kept}: {best.time:.2f} of the dense time {best.source}"
    return dense, f"dense: {kept} would take {best.time:.2f} of its time, {best.source}"


def _block_choices(
    weight: Tensor, target: Target, layers: Layers | None, dense_time: float
) -> Iterator[Choice]:
    nonzero = weight != 0
    by_table, known = list[Choice](), list[Choice | None]()
    for rows, cols in target.blocks:
        efficiency = target.block_efficiency(rows, cols)
        if efficiency > 0 and weight.numel():
            live = int(nonzero_blocks(nonzero, rows, cols).sum())
            total = -(-weight.shape[0] // rows) * -(-weight.shape[1] // cols)
            # Ragged edges count as whole blocks: the kernel computes them whole.
            time = live * rows * cols / weight.numel() / efficiency / dense_time
            by_table.append(Choice((rows, cols), live / total, time))
            known.append(layers.sparse(tuple(weight.shape), (rows, cols), live / total) if layers else None)
    # The table knows no costs but those of multiplications. Where a layer is so sparse that others count, a block shape
    # that was never measured must not look better for it.
    pairs = [(told, table) for told, table in zip(known, by_table, strict=True) if told and table.time]
    scale = max(1.0, min((told.time / table.time for told, table in pairs), default=1.0))
    for told, table in zip(known, by_table, strict=True):
        yield told or replace(table, time=table.time * scale)
