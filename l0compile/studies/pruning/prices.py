"""The predicted time of every level of a layer on the device, in milliseconds, before anything is compiled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp, log
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from l0compile.attention.assignment.calls import AttentionSite
from l0compile.errors import ConfigError
from l0compile.gates import Block
from l0compile.hardware.costs import Costs, KernelWorkload, listed_ms
from l0compile.hardware.targets import Target, load_target
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.ir.ops.words import features_of
from l0compile.kernels.costs import costs_of
from l0compile.studies.pruning.level import Numbers, Shape, has_kernel
from l0compile.studies.pruning.masks import block_of

# What attention to listed blocks reaches of the speed of all keys if no kernel was measured.
_PATTERN_EFFICIENCY = 0.9
_LEAST = 1e-4  # a density is positive
# Multiplications per millisecond if no kernel was measured: only ratios matter then, see ``LatencyLine``.
_NOMINAL = 1e8


@dataclass(frozen=True)
class LinearCall:
    """How a linear layer is called.

    shape: (out, in). tokens: rows of its input in the call whose time counts. sequence: rows that belong to one
    sequence.
    """

    shape: tuple[int, int]
    tokens: int
    sequence: int = 1


def linear_calls(
    model: nn.Module, names: tuple[str, ...], example: tuple[Tensor, ...]
) -> dict[str, LinearCall]:
    """Run ``model`` on ``example`` and note how it calls the linear layers ``names``; skip those it never calls."""
    found: dict[str, LinearCall] = {}

    def note(name: str, layer: nn.Linear, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        x = args[0] if args else named["input"]
        sequence = x.shape[-2] if x.dim() > 1 else 1
        found[name] = LinearCall(
            (layer.out_features, layer.in_features), x.numel() // layer.in_features, sequence
        )

    handles = [
        model.get_submodule(name).register_forward_pre_hook(partial(note, name), with_kwargs=True)
        for name in names
    ]
    try:
        with torch.no_grad():
            model(*example)
    finally:
        for handle in handles:
            handle.remove()
    return found


class Pricing(Protocol):
    """Predicts the time of a layer."""

    def ms(
        self, call: LinearCall, block: Shape | None, density: float, precision: Numbers = "float32"
    ) -> float:
        """Return the milliseconds of a call at a density of blocks; of a dense one if ``block`` is None."""


@dataclass(frozen=True)
class Prices:
    """Times on one target: from measured kernels or, without any, in proportion to its efficiency table.

    Kernels of narrow numbers do with a word what those of float32 do with a number. So as long as none was measured
    near a shape, they are predicted to take as long as float32 ones with as many numbers as there are words.
    """

    target: Target
    costs: Costs | None

    @classmethod
    def of(cls, target: Target) -> "Prices":
        return cls(target, costs_of(target))

    def ms(
        self, call: LinearCall, block: Shape | None, density: float, precision: Numbers = "float32"
    ) -> float:
        """Return the milliseconds of a call at a density of blocks; of a dense one if ``block`` is None."""
        if density <= 0.0:
            return 0.0
        dense = self._ms(call, None, 1.0, precision)
        return dense if block is None else min(dense, self._ms(call, block, density, precision))

    def attention_ms(self, call: LinearCall, heads: int) -> float:
        """Return the milliseconds of attention between the projections; ``call`` is the layer that reads its heads."""
        width, sequence = call.shape[1], call.sequence
        if self.costs is not None:
            shape = (heads, heads, width // heads, width // heads, sequence, sequence)
            found = self.costs.estimate(
                KernelWorkload("attention", shape, tokens=call.tokens, variant="mask")
            )
            if found is not None:
                return found.ms
        return 2 * width * sequence * call.tokens / _NOMINAL

    def head_ms(self, site: AttentionSite, program: RowProgram | None) -> float:
        """Return the milliseconds of one head of an attention; None: it sees all keys, or those up to its own."""
        if program is None:
            return self._attention_ms(site) / site.heads
        kept, sizes = program.kept(site.queries, site.keys), (program.q_block, program.k_block)
        if self.costs is not None:
            parts = {"full": program.full, "partial": program.partial, "columns": program.columns}
            words = [name for name, part in parts.items() if part is not None] + ["mask"] * site.masked
            work = KernelWorkload(
                "block_attention", (*_attention_shape(site), *sizes), None, max(kept, _LEAST),
                site.sequences * site.queries, "+".join(words),
            )  # fmt: skip
            found = listed_ms(self.costs, work)
            if found is not None:
                return found / site.heads
        whole = self._attention_ms(replace(site, causal=False)) / site.heads
        return whole * min(1.0, kept / _PATTERN_EFFICIENCY)

    def _attention_ms(self, site: AttentionSite) -> float:
        tokens = site.sequences * site.queries
        if self.costs is not None:
            variant = "+".join(["causal"] * site.causal + ["mask"] * site.masked)
            work = KernelWorkload("attention", _attention_shape(site), tokens=tokens, variant=variant)
            found = self.costs.estimate(work)
            if found is not None:
                return found.ms
        share = 0.5 if site.causal else 1.0
        return share * site.heads * (site.width + site.value_width) * site.keys * tokens / _NOMINAL

    def _ms(self, call: LinearCall, block: Shape | None, density: float, precision: Numbers) -> float:
        if not has_kernel(block, precision):
            return float("inf")
        each = features_of(getattr(torch, precision))
        (n, k), words = call.shape, block and (block[0], block[1] // each)
        if self.costs is not None:
            work = KernelWorkload("linear", (n, k), block, density, call.tokens, dtype=precision)
            alike = KernelWorkload("linear", (n, -(-k // each)), words, density, call.tokens)
            found = self.costs.estimate(work) or self.costs.estimate(alike)
            if found is not None:
                return found.ms
        efficiency = 1.0 if words is None else self.target.block_efficiency(*words)
        whole = n * k * call.tokens / (each * _NOMINAL)
        return whole * density / efficiency if efficiency > 0 else float("inf")


def _attention_shape(site: AttentionSite) -> tuple[int, ...]:
    return site.heads, site.key_heads, site.width, site.value_width, site.queries, site.keys


def gate_prices(
    model: nn.Module, args: tuple[Tensor, ...], target: str | Target = "native"
) -> dict[str, list[tuple[float, float]]]:
    """Predict the time of every linear layer of a gated model at each density, for ``Budget.within``.

    The figures are milliseconds if the target's kernels were measured (``l0compile tune``). Otherwise they are
    multiplications at a nominal speed, weighted by the efficiency of the block shape.

    Args:
        model: a model with gates.
        args: positional example inputs, at the size whose latency counts.
        target: the device.

    Returns:
        Layer -> points (density, milliseconds of a call), from (0, 0) to density 1, in blocks of the layer's gate.
        A layer that ``args`` do not reach takes nothing.

    Raises:
        TargetError: the target is unknown.
    """
    prices = Prices.of(target if isinstance(target, Target) else load_target(target))
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    reached = linear_calls(model, tuple(linear), args)
    nothing = [(0.0, 0.0), (1.0, 0.0)]
    return {
        name: _price_curve(prices, reached[name], block_of(layer)) if name in reached else nothing
        for name, layer in linear.items()
    }


def _price_curve(prices: Pricing, call: LinearCall, block: Block | None) -> list[tuple[float, float]]:
    if block is None:  # whole rows or columns go, which leaves a smaller dense layer
        return [(0.0, 0.0), (1.0, prices.ms(call, None, 1.0))]
    shape = block.rows, block.cols
    return [(0.0, 0.0), *((density, prices.ms(call, shape, density)) for density in _TABLED)]


@dataclass(frozen=True)
class PriceTable:
    """Prices that a study hands to its workers, which may run on other machines; interpolated between densities.

    points: "out x in x tokens / rows x columns", and the precision if it is not float32 -> (density, milliseconds),
    rising.
    """

    points: Mapping[str, Sequence[tuple[float, float]]]

    @classmethod
    def of(
        cls,
        prices: Pricing,
        wanted: Iterable[tuple[LinearCall, Sequence[Shape]]],
        precisions: Sequence[Numbers] = ("float32",),
    ) -> "PriceTable":
        """Tabulate the prices of some layers, each dense and in block shapes, in every precision."""
        points: dict[str, list[tuple[float, float]]] = {}
        for call, shapes in wanted:
            for precision in precisions:
                points[_key(call, None, precision)] = [(1.0, prices.ms(call, None, 1.0, precision))]
                for block in (shape for shape in shapes if has_kernel(shape, precision)):
                    rising = [(d, prices.ms(call, block, d, precision)) for d in _TABLED]
                    points[_key(call, block, precision)] = rising
        return cls(points)

    def ms(
        self, call: LinearCall, block: Shape | None, density: float, precision: Numbers = "float32"
    ) -> float:
        """Predict as ``Prices.ms`` does.

        Raises:
            ConfigError: the table has no such layer or block shape.
        """
        if density <= 0.0:
            return 0.0
        found = self.points.get(key := _key(call, block, precision))
        if found is None:
            raise ConfigError(f"job: prices: expected one of {key!r}, got {', '.join(self.points)}")
        densities, ms = zip(*found, strict=True)
        return float(np.interp(density, densities, ms))


_TABLED = (0.01, 0.02, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2, 0.27, 0.34, 0.42, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def _key(call: LinearCall, block: Shape | None, precision: Numbers) -> str:
    shape = "dense" if block is None else f"{block[0]}x{block[1]}"
    numbers = "" if precision == "float32" else f" {precision}"
    return f"{call.shape[0]}x{call.shape[1]}x{call.tokens} / {shape}{numbers}"


@dataclass(frozen=True)
class LatencyLine:
    """``measured = slope * price + rest``: what prices leave out, learned from measured models.

    The rest is attention, norms and calls. The slope exceeds 1 because layers wait longer for their weights in a model
    than alone.
    """

    slope: float
    rest: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]], near: float) -> "LatencyLine":
        """Fit a line to (price, measured) points by least squares of relative errors.

        Points far from ``near`` milliseconds count less. One more point pulls the slope towards the usual one.
        """
        rows, wanted = [], []
        for price, ms in points:
            weight = exp(-(log(ms / near) ** 2) / (2 * _NEAR**2)) + 1e-3
            rows.append([weight * price / ms, weight / ms])
            wanted.append(weight)
        typical = sum(price for price, _ in points) / len(points)
        rows.append([_PRIOR * typical / near, 0.0])
        wanted.append(_PRIOR * typical / near * _USUAL)
        slope, _ = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0].tolist()
        slope = min(max(slope, _SLOPES[0]), _SLOPES[1])
        weights, offsets = np.array(wanted[:-1]), np.array([ms - slope * price for price, ms in points])
        # Fit the rest again with the bounded slope; it can't be negative.
        return cls(slope, max(0.0, float((weights**2 * offsets).sum() / (weights**2).sum())))

    def ms(self, price: float) -> float:
        """Return the latency of a model of this price."""
        return self.slope * price + self.rest

    def price(self, ms: float) -> float:
        """Return the price of a model of this latency; 0 or less if there is none."""
        return (ms - self.rest) / self.slope


# The usual slope, its weight against one measurement, and the range that no measured model has left.
_USUAL, _PRIOR, _SLOPES = 1.15, 0.1, (0.8, 1.8)
# Measurements lose their weight over this difference of the logarithm of latencies.
_NEAR = 0.35
