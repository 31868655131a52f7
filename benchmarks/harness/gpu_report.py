"""Rows of the GPU benchmark as a table and a picture; what was not measured says so."""

from collections.abc import Sequence
from typing import Any

from harness.plots import IDEAL, MEASURED
from l0compile.report.plots.export import DPI, png

Rows = Sequence[dict[str, Any]]
_KEYS = (
    "part",
    "model",
    "tokens",
    "n",
    "k",
    "block",
    "density",
    "heads",
    "width",
    "causal",
    "dtype",
    "zeros",
    "engine",
)


def table(rows: Rows) -> str:
    """Markdown: what was run, and its time, error or the reason why there is none."""
    head = ["what", "engine", "ms", "predicted, ms", "largest error"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        what = " ".join(_word(key, row[key]) for key in _KEYS[:-1] if row.get(key) not in (None, ""))
        band = row.get("predicted_ms")
        predicted = f"predicted {band[1]:.3g} [{band[0]:.3g}, {band[2]:.3g}]" if band else ""
        gap = f"{row['largest error']:.2g}" if "largest error" in row else ""
        lines.append([what, str(row.get("engine", "ours")), _time(row), predicted, gap])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _word(key: str, value: Any) -> str:
    if key == "part":
        return f"{value}:"
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def _time(row: dict[str, Any]) -> str:
    if "ms" in row:
        return f"{row['ms']:.4g} [{row['low_ms']:.4g}, {row['high_ms']:.4g}]"
    if "not measured" in row:
        return "not measured"
    return f"failed: {row['error'][:60]}" if "error" in row else ""


def picture(rows: Rows) -> bytes:
    """A PNG with a panel for each size of layer: time over density, measured where it was, and the predicted band."""
    from matplotlib.figure import Figure

    sparse = [
        row for row in rows if row.get("part") == "layers" and row.get("block") and row["engine"] == "ours"
    ]
    sizes = list(dict.fromkeys((row["tokens"], row["n"], row["k"]) for row in sparse))
    figure = Figure(figsize=(4 * max(1, len(sizes)), 3.4), layout="constrained", facecolor="white", dpi=DPI)
    for size, panel in zip(sizes, figure.subplots(1, max(1, len(sizes)), squeeze=False)[0], strict=False):
        own = [row for row in sparse if (row["tokens"], row["n"], row["k"]) == size]
        _panel(panel, own)
        for row in rows:
            dense = not row.get("block") and "ms" in row and row.get("engine") == "F.linear (cuBLAS)"
            if dense and (row["tokens"], row["n"], row["k"]) == size:
                panel.axhline(row["ms"], color="#c2410c", label=f"cuBLAS, {row['dtype']}, measured")
        panel.set_title("{} tokens, {}x{}".format(*size), fontsize=9)
        panel.set_xlabel("density")
        panel.set_ylabel("ms")
        panel.legend(fontsize=7)
    return png(figure)


def _panel(panel: Any, rows: Rows) -> None:
    for block in sorted({row["block"] for row in rows}):
        own = sorted((row for row in rows if row["block"] == block), key=lambda row: row["density"])
        banded = [row for row in own if "predicted_ms" in row]
        at = [row["density"] for row in banded]
        low, mid, high = ([row["predicted_ms"][i] for row in banded] for i in range(3))
        panel.fill_between(at, low, high, color=IDEAL, alpha=0.2)
        panel.plot(at, mid, "--", color=IDEAL, label=f"{block}x{block}, predicted")
        timed = [row for row in own if "ms" in row]
        panel.plot(
            [row["density"] for row in timed], [row["ms"] for row in timed], "o-", color=MEASURED,
            label=f"{block}x{block}, measured" if timed else None,
        )  # fmt: skip
