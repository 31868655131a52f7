"""What each way to leave a layer takes on the device, in milliseconds, before anything is compiled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, log
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError
from l0compile.gates import Block
from l0compile.hardware.costs import Costs, KernelWorkload
from l0compile.hardware.targets import Target, load_target
from l0compile.kernels.costs import costs_of
from l0compile.pruning.masks import block_of

# Multiplications a millisecond where no kernel was measured: only ratios matter then, see ``Line``.
_NOMINAL = 1e8


@dataclass(frozen=True)
class Site:
    """A linear layer where it is called. shape: (out, in). tokens: rows of its input in the call whose time counts;
    sequence: those of one sequence."""

    shape: tuple[int, int]
    tokens: int
    sequence: int = 1


def sites(model: nn.Module, names: tuple[str, ...], example: tuple[Tensor, ...]) -> dict[str, Site]:
    """The linear layers ``names`` of ``model`` in a call with ``example``; those it does not reach are left out."""
    found: dict[str, Site] = {}

    def note(name: str, layer: nn.Linear, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        x = args[0] if args else named["input"]
        sequence = x.shape[-2] if x.dim() > 1 else 1
        found[name] = Site((layer.out_features, layer.in_features), x.numel() // layer.in_features, sequence)

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
    """Tells what a layer takes."""

    def ms(self, site: Site, block: tuple[int, int] | None, density: float) -> float:
        """Milliseconds of a call with that share of the blocks left; ``block`` None: dense."""


@dataclass(frozen=True)
class Prices:
    """Times on one target: from measured kernels or, where there are none, in proportion to its efficiency table."""

    target: Target
    costs: Costs | None

    @classmethod
    def of(cls, target: Target) -> "Prices":
        return cls(target, costs_of(target))

    def ms(self, site: Site, block: tuple[int, int] | None, density: float) -> float:
        """Milliseconds of a call with that share of the blocks left; ``block`` None: dense."""
        if density <= 0.0:
            return 0.0
        dense = self._ms(site, None, 1.0)
        return dense if block is None else min(dense, self._ms(site, block, density))

    def attention_ms(self, site: Site, heads: int) -> float:
        """Milliseconds of attention between the projections, where ``site`` is the layer that reads its heads."""
        width, sequence = site.shape[1], site.sequence
        if self.costs is not None:
            shape = (heads, heads, width // heads, width // heads, sequence, sequence)
            found = self.costs.estimate(
                KernelWorkload("attention", shape, tokens=site.tokens, variant="mask")
            )
            if found is not None:
                return found.ms
        return 2 * width * sequence * site.tokens / _NOMINAL

    def _ms(self, site: Site, block: tuple[int, int] | None, density: float) -> float:
        if self.costs is not None:
            found = self.costs.estimate(KernelWorkload("linear", site.shape, block, density, site.tokens))
            if found is not None:
                return found.ms
        efficiency = 1.0 if block is None else self.target.block_efficiency(*block)
        work = site.shape[0] * site.shape[1] * site.tokens / _NOMINAL
        return work * density / efficiency if efficiency > 0 else float("inf")


def gate_prices(
    model: nn.Module, args: tuple[Tensor, ...], target: str | Target = "native"
) -> dict[str, list[tuple[float, float]]]:
    """What every linear layer of a gated model takes at each density, for ``Budget.within``: gates trained in time.

    Args:
        model: with gates. args: positional example inputs, at the size whose latency counts.
        target: the device; its kernels must have been measured there (``l0compile tune``) for figures to be
            milliseconds, else they are multiplications of a nominal speed, weighed by the block's efficiency.

    Returns: layer -> points (density, milliseconds of a call), from (0, 0) to density 1, in blocks of the layer's gate.
    Layers of a model that ``args`` do not reach take nothing.

    Raises: TargetError for an unknown target.
    """
    prices = Prices.of(target if isinstance(target, Target) else load_target(target))
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    reached = sites(model, tuple(linear), args)
    nothing = [(0.0, 0.0), (1.0, 0.0)]
    return {
        name: _price_curve(prices, reached[name], block_of(layer)) if name in reached else nothing
        for name, layer in linear.items()
    }


def _price_curve(prices: Pricing, site: Site, block: Block | None) -> list[tuple[float, float]]:
    if block is None:  # whole rows or columns go, and what is left is a smaller dense layer
        return [(0.0, 0.0), (1.0, prices.ms(site, None, 1.0))]
    shape = block.rows, block.cols
    return [(0.0, 0.0), *((density, prices.ms(site, shape, density)) for density in _TABLED)]


@dataclass(frozen=True)
class PriceTable:
    """Prices of another machine's target, between densities that were asked for: what a study hands to its workers.

    points: "out x in x tokens / rows x columns" -> (density, milliseconds), rising.
    """

    points: Mapping[str, Sequence[tuple[float, float]]]

    @classmethod
    def of(cls, prices: Pricing, asked: Iterable[tuple[Site, Sequence[tuple[int, int]]]]) -> "PriceTable":
        """The prices of some sites, each dense and in block shapes."""
        points: dict[str, list[tuple[float, float]]] = {}
        for site, shapes in asked:
            points[_key(site, None)] = [(1.0, prices.ms(site, None, 1.0))]
            for block in shapes:
                points[_key(site, block)] = [(d, prices.ms(site, block, d)) for d in _TABLED]
        return cls(points)

    def ms(self, site: Site, block: tuple[int, int] | None, density: float) -> float:
        """As ``Prices.ms``. Raises ConfigError for a site or block shape that is not in the table."""
        if density <= 0.0:
            return 0.0
        found = self.points.get(_key(site, block))
        if found is None:
            raise ConfigError(
                f"job: prices: expected one of {_key(site, block)!r}, got {', '.join(self.points)}"
            )
        densities, ms = zip(*found, strict=True)
        return float(np.interp(density, densities, ms))


_TABLED = (0.01, 0.02, 0.035, 0.05, 0.07, 0.1, 0.14, 0.2, 0.27, 0.34, 0.42, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def _key(site: Site, block: tuple[int, int] | None) -> str:
    shape = "dense" if block is None else f"{block[0]}x{block[1]}"
    return f"{site.shape[0]}x{site.shape[1]}x{site.tokens} / {shape}"


@dataclass(frozen=True)
class Line:
    """``measured = slope * price + rest``: what prices leave out, learned from whole models that were measured.

    The rest is attention, norms and calls; the slope is what layers wait longer for their weights than alone.
    """

    slope: float
    rest: float

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]], near: float) -> "Line":
        """Nearest to (price, measured) points: least squares of relative errors. Points count the less the further they
        are from ``near`` milliseconds, and one more says that the slope is the usual one."""
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
        # With the slope inside its bounds, the rest once more; it is no time below 0.
        return cls(slope, max(0.0, float((weights**2 * offsets).sum() / (weights**2).sum())))

    def ms(self, price: float) -> float:
        """The latency of a model of that price."""
        return self.slope * price + self.rest

    def price(self, ms: float) -> float:
        """The price of a model of that latency; 0 or less if there is none."""
        return (ms - self.rest) / self.slope


# The usual slope, how much that counts against one measurement, and what no model was seen beyond.
_USUAL, _PRIOR, _SLOPES = 1.15, 0.1, (0.8, 1.8)
# Logarithm of the ratio of latencies over which a measurement loses its weight.
_NEAR = 0.35
