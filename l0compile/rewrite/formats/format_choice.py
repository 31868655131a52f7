"""Find the fastest way to store a weight, by what kernels take on the device or by the table of the target."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from l0compile.hardware.costs import Costs, KernelWorkload
from l0compile.hardware.costs.gpu import TWO_OF_FOUR
from l0compile.hardware.targets import Target
from l0compile.ir.ops.bsr import nonzero_blocks
from l0compile.ir.ops.two_of_four import fits_two_of_four
from l0compile.rewrite.linear_layers import PRECISIONS

# A block-sparse kernel must take at most this share of the dense time: a tie is not worth another format.
HYSTERESIS = 0.95
_CHUNK_WORDS = 4
TWO_OF_FOUR_TYPES = ("float16", "bfloat16")
"""Types of the weights that are stored as two of each four."""


@dataclass(frozen=True)
class FormatChoice:
    """One way to store a weight.

    Attributes:
        block: (rows, columns) of a block; None: dense.
        kept: share of the blocks that are stored.
        time: of a call, over that of the dense kernel.
        source: whether the time was measured or predicted.
        two_of_four: two of each four neighbours of a row are stored.
    """

    block: tuple[int, int] | None
    kept: float
    time: float
    source: Literal["measured", "predicted"] = "predicted"
    two_of_four: bool = False


@dataclass(frozen=True)
class Layers:
    """The times of linear layers on ``tokens`` tokens, as far as ``costs`` tell."""

    costs: Costs
    tokens: int
    dtype: str = "float32"

    def dense_ms(self, shape: tuple[int, ...]) -> float | None:
        """Milliseconds of a dense layer with a weight of ``shape``; None where nothing tells."""
        found = (
            self.costs.estimate(KernelWorkload("linear", shape, tokens=self.tokens, dtype=self.dtype))
            if len(shape) == 2
            else None
        )
        return found.ms if found else None

    def two_of_four(self, shape: tuple[int, ...]) -> FormatChoice | None:
        """The choice to store two of each four neighbours of a row; None where nothing tells its time."""
        work = KernelWorkload("linear", shape, tokens=self.tokens, dtype=self.dtype)
        dense, sparse = self.costs.estimate(work), self.costs.estimate(replace(work, variant=TWO_OF_FOUR))
        if dense is None or sparse is None:
            return None
        measured = dense.source == sparse.source == "measured"
        source: Literal["measured", "predicted"] = "measured" if measured else "predicted"
        return FormatChoice(None, 1.0, sparse.ms / dense.ms, source, two_of_four=True)

    def sparse(self, shape: tuple[int, ...], block: tuple[int, int], kept: float) -> FormatChoice | None:
        """The choice to store a share ``kept`` of the blocks; None where nothing tells its time."""
        dense = self.costs.estimate(KernelWorkload("linear", shape, tokens=self.tokens, dtype=self.dtype))
        sparse = self.costs.estimate(
            KernelWorkload("linear", shape, block, kept, self.tokens, dtype=self.dtype)
        )
        if dense is None or sparse is None:
            return None
        measured = dense.source == sparse.source == "measured"
        return FormatChoice(block, kept, sparse.ms / dense.ms, "measured" if measured else "predicted")


def choose(
    weight: Tensor, target: Target, layers: Layers | None = None, dense_time: float = 1.0
) -> tuple[FormatChoice, str]:
    """The best format of a weight on a target.

    Args:
        weight: [n, k].
        target: has the legal block shapes and their efficiencies.
        layers: times at the sizes of the layer; None: only the table of the target counts.
        dense_time: of the dense kernel, over that of a block-sparse one with all blocks and an efficiency of 1.

    Returns:
        (choice, the reason in words).
    """
    dense = FormatChoice(None, 1.0, 1.0)
    taken_types = (*target.dtypes, "int8") if target.kind == "cuda" else tuple(PRECISIONS.values())
    if type_name(weight) not in taken_types:
        return (
            dense,
            f"dense: block-sparse kernels take {', '.join(taken_types)}, the weight is {weight.dtype}",
        )
    choices = [*_block_choices(weight, target, layers, dense_time), *_two_of_four(weight, target, layers)]
    if not choices:
        return dense, f"dense: target {target.name} has no block-sparse kernel"
    best = min(choices, key=lambda choice: choice.time)
    taken = best.time <= HYSTERESIS
    return (best if taken else dense), in_words(best, taken)


def type_name(weight: Tensor) -> str:
    """The name of a weight's dtype, as targets and costs have it."""
    return str(weight.dtype).removeprefix("torch.")


def for_words(target: Target, features: int) -> Target:
    """A target with the block shapes that kernels of narrow numbers have: ``features`` columns where float32 has one.

    The kernels do with a word of numbers what those of float32 do with one, so efficiencies are the same. Those of a
    GPU take 16 bytes of a row at once, and shapes that are whole such chunks.
    """
    if target.kind == "cuda":
        whole = [block for block in target.blocks if block[1] % (features * _CHUNK_WORDS) == 0]
        return replace(target, blocks=tuple(whole))
    wide = {(rows, features * cols): target.block_efficiency(rows, cols) for rows, cols in target.blocks}
    return replace(target, blocks=tuple(wide), efficiency=tuple(wide.items()))


def in_words(best: FormatChoice, taken: bool) -> str:
    """A sentence that says why the best block-sparse choice is ``taken``, or why it is not."""
    if best.two_of_four:
        fits = "at most two of each four neighbours of a row are left"
        if taken:
            return f"{fits}: {best.time:.2f} of the dense time ({best.source})"
        return (
            f"dense: {fits}, and skipping the others would take {best.time:.2f} of its time ({best.source})"
        )
    rows, cols = best.block or (1, 1)
    blocks = f"{rows}×{cols} blocks"
    if taken and best.kept == 1.0:
        return (
            f"none of the {blocks} is zero, but their kernel is the quicker one here: {best.time:.2f} of the dense "
            f"time ({best.source})"
        )
    if taken:
        return f"{_percent(best.kept)} of the {blocks} are left: {best.time:.2f} of the dense time ({best.source})"
    if best.kept == 1.0:
        return f"dense: no whole block is zero, of the {blocks} or of others"
    left = f"dense: {_percent(best.kept)} of the {blocks} are left, and skipping the rest would"
    if best.time < 1.0:
        least = f"{100 * (1 - HYSTERESIS):.0f} % is the least that counts"
        return f"{left} save {_percent(1 - best.time)} of its time ({best.source}; {least})"
    return f"{left} take {best.time:.2f} times as long ({best.source})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _block_choices(
    weight: Tensor, target: Target, layers: Layers | None, dense_time: float
) -> Iterator[FormatChoice]:
    nonzero = weight != 0
    full = bool(nonzero.view(torch.uint8).amin()) if weight.numel() else False
    by_table, known = list[FormatChoice](), list[FormatChoice | None]()
    for rows, cols in target.blocks:
        efficiency = target.block_efficiency(rows, cols)
        if efficiency > 0 and weight.numel():
            total = -(-weight.shape[0] // rows) * -(-weight.shape[1] // cols)
            live = total if full else int(nonzero_blocks(nonzero, rows, cols).count_nonzero())
            # Ragged edges count as whole blocks: the kernel computes them whole.
            time = live * rows * cols / weight.numel() / efficiency / dense_time
            by_table.append(FormatChoice((rows, cols), live / total, time))
            known.append(layers.sparse(tuple(weight.shape), (rows, cols), live / total) if layers else None)
    # The table covers only multiplications. In a very sparse layer other costs count, and a block shape that was never
    # measured must not look better for lacking them.
    pairs = [(told, table) for told, table in zip(known, by_table, strict=True) if told and table.time]
    scale = max(1.0, min((told.time / table.time for told, table in pairs), default=1.0))
    for told, table in zip(known, by_table, strict=True):
        yield told or replace(table, time=table.time * scale)


def _two_of_four(weight: Tensor, target: Target, layers: Layers | None) -> Iterator[FormatChoice]:
    """The format of sparse tensor cores, where they have such numbers and the zeros fit it exactly."""
    if target.kind == "cuda" and layers is not None and type_name(weight) in TWO_OF_FOUR_TYPES:
        found = layers.two_of_four(tuple(weight.shape)) if fits_two_of_four(weight) else None
        if found is not None:
            yield found


def told_of_instructions(target: Target, precision: str, reason: str) -> str:
    """``reason``, behind a warning where ``target`` has no instructions for products of this precision."""
    if target.multiplies(precision):
        return reason
    lacking = (
        f"{target.name} has no instruction for products in {precision}: plain arithmetic, slower than float32"
    )
    return "; ".join(filter(None, (lacking, reason)))
