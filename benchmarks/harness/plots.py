"""Plots of measured rows: time along an axis and its ideal, and layers under the roofline."""

from typing import Any

import numpy as np

from l0compile.report.plots.colours import FAINT, GRID
from l0compile.report.plots.export import DPI, png
from l0compile.report.plots.figure import PlotSize, canvas

MEASURED, IDEAL = "#1d4ed8", "#9aa5b1"
DENSITY_COLOURS = {1.0: "#334e68", 0.1: "#c2410c"}
Rows = list[dict[str, Any]]


def draw_scaling(rows: Rows) -> bytes:
    """Draw a PNG with one panel per axis: milliseconds with their interval, and the ideal."""
    from matplotlib.figure import Figure

    names = ("density", "tokens", "layers", "threads")
    figure = Figure(figsize=(11, 3.2), layout="constrained", facecolor="white", dpi=DPI)
    for place, (name, panel) in enumerate(zip(names, figure.subplots(1, len(names)), strict=True)):
        found = sorted((row for row in rows if row["axis"] == name), key=lambda row: row["value"])
        if not found:
            continue
        at, ms = [row["value"] for row in found], [row["median_ms"] for row in found]
        spread = [
            [row["median_ms"] - row["low_ms"] for row in found],
            [row["high_ms"] - row["median_ms"] for row in found],
        ]
        panel.plot(at, [row["ideal_ms"] for row in found], "--", color=IDEAL, label="in proportion")
        panel.errorbar(at, ms, spread, marker="o", markersize=4, color=MEASURED, capsize=2, label="measured")
        if name in ("density", "tokens"):
            panel.set_xscale("log")
            panel.set_yscale("log")
        else:
            panel.set_ylim(bottom=0)
        panel.set_xticks(at, [f"{value:g}" for value in at], fontsize=8)
        panel.minorticks_off()
        panel.set_xlabel(name)
        panel.set_ylabel("ms" if not place else "")
        panel.grid(color=GRID, linewidth=0.7)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
        if not place:
            panel.legend(frameon=False, fontsize=8)
    return png(figure)


def draw_roofline(rows: Rows) -> bytes:
    """Draw a PNG of GFLOP/s over operations per byte, under the limits of the machine."""
    limits = next(row for row in rows if row["axis"] == "limits")
    figure, axes = canvas(PlotSize(720, 460))
    intensity = np.geomspace(0.2, 200, 100)
    for key, label, style in (
        ("memory_gb_per_s", "memory", ":"),
        ("cache_gb_per_s", "second cache", "--"),
    ):
        roof = np.minimum(limits["gflop_per_s"], limits[key] * intensity)
        axes.plot(intensity, roof, style, color=FAINT, label=f"{label}, {limits[key]:.0f} GB/s")
    axes.axhline(limits["gflop_per_s"], color=FAINT, linewidth=0.8)
    axes.annotate(
        f"best product of PyTorch, {limits['gflop_per_s']:.0f} GFLOP/s",
        (0.22, limits["gflop_per_s"] * 1.06),
        color=FAINT,
        fontsize=8,
    )
    for density, colour in DENSITY_COLOURS.items():
        found = [row for row in rows if row["axis"] == "roofline" and row["density"] == density]
        points = [row["flop_per_byte"] for row in found], [row["gflop_per_s"] for row in found]
        axes.scatter(*points, s=26, color=colour, label=f"linear layers at density {density:g}", zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations a byte (each weight, input and result moved once)")
    axes.set_ylabel("GFLOP/s on what is not zero")
    axes.grid(color=GRID, linewidth=0.7)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return png(figure)


def draw_pattern_search(rows: Rows) -> bytes:
    """Draw a PNG with one panel per model: loss over milliseconds, one pattern for all heads and one for each head."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["axis"] for row in rows))
    figure = Figure(figsize=(5 * len(names), 3.6), layout="constrained", facecolor="white", dpi=DPI)
    for name, panel in zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True):
        own = [row for row in rows if row["axis"] == name]
        for key, label, colour in (
            ("uniform", "one pattern for all heads", IDEAL),
            ("searched", "a pattern for each head", MEASURED),
        ):
            found = sorted((row[f"{key}_ms"], max(row[f"{key}_loss"], 1e-5)) for row in own)
            panel.plot(*zip(*found, strict=True), marker="o", markersize=4, color=colour, label=label)
        panel.set_yscale("log")
        panel.set_title(name, fontsize=10)
        panel.set_xlabel(f"ms (all keys: {own[0]['dense_ms']:.3g})")
        panel.set_ylabel("loss on held-out inputs")
        panel.grid(color=GRID, linewidth=0.7)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    return png(figure)


def draw_methods(rows: dict[str, Rows]) -> bytes:
    """Draw a PNG of dense time over the time of each method, by length; above the line a method is quicker."""
    figure, axes = canvas(PlotSize(880, 620))
    colours = {True: MEASURED, False: DENSITY_COLOURS[0.1]}
    ends = sorted((points[-1]["speedup"], name) for name, points in rows.items())
    place: dict[str, float] = {}
    for speedup, name in ends:  # labels that do not overlap, from below
        place[name] = max(speedup, max(place.values(), default=0.0) * 1.085)
    for name, points in rows.items():
        at, colour = [row["tokens"] for row in points], colours[points[0]["causal"]]
        axes.plot(at, [row["speedup"] for row in points], marker="o", markersize=3, color=colour, alpha=0.7)
        axes.annotate(name, (at[-1] * 1.04, place[name]), color=colour, fontsize=7, va="center")
    lengths = sorted({row["tokens"] for points in rows.values() for row in points})
    axes.axhline(1.0, color=DENSITY_COLOURS[1.0], linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(lengths[0] * 0.95, lengths[-1] * 1.6)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    axes.set_xlabel("tokens")
    axes.set_ylabel("dense time / time (blue: causal, red: all keys)")
    axes.grid(color=GRID, linewidth=0.7)
    return png(figure)
