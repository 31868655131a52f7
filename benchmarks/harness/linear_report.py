"""The report on the linear grid: figures, rows for the results, and a plot."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from harness import linear_grid as grid
from harness import record as results
from l0compile.hardware.targets import load_target

_WIDEST_BITS = 512  # of a register of the reference machine, whose plots have no number in their names
WHOLE = {"4x1", "8x1", "4x4", "8x8", "16x16", "32x32"}


@dataclass(frozen=True)
class Point:
    """A point of the grid: microseconds of our kernel and of the best dense engine, and the share of weights stored."""

    shape: tuple[int, int]
    tokens: int
    block: str
    density: float
    stored: float
    us: float
    dense_us: float
    engine: str

    @property
    def efficiency(self) -> float:
        return self.dense_us * self.stored / self.us

    @property
    def counts(self) -> bool:
        return self.dense_us * self.stored >= grid.LEAST_US


def path(folder: Path, engine: str, shape: tuple[int, int]) -> Path:
    return folder / f"{engine}_{shape[0]}_{shape[1]}.json"


def points(folder: Path, engines: tuple[str, ...] = grid.ENGINES) -> Iterator[Point]:
    """List the points of all shapes that have the times of every engine."""
    for shape in grid.SHAPES:
        files = {engine: path(folder, engine, shape) for engine in (*engines, "l0compile")}
        if not all(file.exists() for file in files.values()):
            continue
        times = {engine: json.loads(file.read_text()) for engine, file in files.items()}
        for key, (us, stored) in times["l0compile"].items():
            tokens, block, density = key.split()
            dense = {engine: times[engine][f"{tokens} dense 1.0"][0] for engine in engines}
            best = min(dense, key=lambda engine: dense[engine])
            yield Point(shape, int(tokens), block, float(density), stored, us, dense[best], best)


def figures(all_points: list[Point]) -> dict[str, dict[str, Any]]:
    """Compute each figure as geometric mean, worst and number of points: e, and the speed-up for few tokens."""
    many = [p for p in all_points if p.counts and p.tokens >= 64]
    chosen = {
        "dense, 64 tokens and more": [p for p in many if p.block == "dense"],
        "4x1 8x1 4x4 8x8 16x16 32x32": [p for p in many if p.block in WHOLE],
        **{block: [p for p in many if p.block == block] for block in ("16x1", "2x1", "1x1", "1x4", "64x64")},
    }
    found = {name: _summary([(p.efficiency, p) for p in those]) for name, those in chosen.items() if those}
    for tokens in grid.FEW:
        few = [p for p in all_points if p.tokens == tokens]
        dense = [(p.dense_us / p.us, p) for p in few if p.block == "dense"]
        sparse = [(p.dense_us / p.us, p) for p in few if p.block in WHOLE and p.density == 0.1]
        found[f"{tokens} tokens, dense, times as fast"] = _summary(dense)
        found[f"{tokens} tokens, d = 0.1, times as fast, all"] = _summary(sparse)
        found[f"{tokens} tokens, d = 0.1, times as fast, counted"] = _summary(
            [v for v in sparse if v[1].counts]
        )
    return {name: figure for name, figure in found.items() if figure}


def _summary(values: list[tuple[float, Point]]) -> dict[str, Any]:
    if not values:
        return {}
    worst, p = min(values, key=lambda value: value[0])
    where = f"{p.shape[0]}x{p.shape[1]}, {p.tokens} tokens, {p.block} at {p.density}"
    mean = geometric_mean([value for value, _ in values])
    return {"mean": round(mean, 3), "worst": round(worst, 3), "where": where, "points": len(values)}


def narrow_figures(all_points: list[Point]) -> dict[str, dict[str, Any]]:
    """Compute efficiencies of kernels of narrow numbers: dense, all blocks, each block."""
    many = [p for p in all_points if p.counts and p.tokens >= 64]
    chosen = {"dense, 64 tokens and more": [p for p in many if p.block == "dense"]}
    chosen["blocks, d <= 0.5"] = [p for p in many if p.block != "dense"]
    chosen |= {
        block: [p for p in many if p.block == block] for block in sorted({p.block for p in many} - {"dense"})
    }
    return {name: _summary([(p.efficiency, p) for p in those]) for name, those in chosen.items() if those}


def report(folder: Path, record: bool, numbers: str = "float32", uniform: bool = False) -> None:
    """Print the figures; with ``record``, append a row per shape and one with the figures, and draw the plot."""
    found = list(points(folder, grid.engines_of(numbers)))
    summary = figures(found) if numbers == "float32" else narrow_figures(found)
    for name, figure in summary.items():
        print(f"{name:45} mean {figure['mean']:6.3f}  worst {figure['worst']:6.3f} ({figure['where']})")
    if not record:
        return
    what = {
        "numbers": numbers,
        **({"weights": "uniform" if uniform else "normal"} if numbers == "int8" else {}),
    }
    for shape in sorted({point.shape for point in found}):
        rows = {
            f"{p.tokens} {p.block} {p.density}": [
                round(p.us, 1),
                round(p.dense_us, 1),
                p.engine,
                round(p.efficiency, 3),
            ]
            for p in found
            if p.shape == shape
        }
        results.append("linear", {**what, "shape": shape, "points": rows})
    results.append("linear", {**what, "figures": summary})
    bits = load_target("native").vector_bits
    words = [
        "linear",
        "" if numbers == "float32" else numbers,
        "" if bits == _WIDEST_BITS else f"{bits}_bits",
    ]
    target = results.RESULTS / ("_".join(filter(None, words)) + ".svg")
    _plot(found, [grid.block_name(block) for block in grid.blocks_of(numbers)], target)


def _plot(found: list[Point], blocks: list[str], target: Path) -> None:
    """Plot efficiency against density, one line per block shape, as the geometric mean over shapes and tokens."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for block in blocks:
        line = []
        for density in (1.0, *grid.DENSITIES):
            here = [
                p.efficiency
                for p in found
                if (p.block, p.density) == (block, density) and p.counts and p.tokens >= 64
            ]
            if here:
                line.append((density, geometric_mean(here)))
        if line:
            axes.plot(*zip(*line, strict=True), marker="o", markersize=3, label=block)
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set(
        xscale="log",
        xlabel="density",
        ylabel="efficiency (1 = the best dense engine's time x density)",
        ylim=(0, 1.3),
    )
    axes.legend(ncols=3, fontsize="small")
    figure.savefig(target, bbox_inches="tight", metadata={"Date": None})
