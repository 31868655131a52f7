"""Drawing without a window system: figures that become PNG bytes, and text made fit for them."""

import io
import textwrap
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
INK, FAINT, GRID = "#1f2933", "#7b8794", "#e4e7eb"


def canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    """An empty figure of ``width`` by ``height`` inches with one pair of axes."""
    # Figure, not pyplot: no global state, no window system, safe in any thread.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def png(figure: "Figure") -> bytes:
    """``figure`` as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes here; the HTML table beside it has it in full.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def plain(text: str, width: int = 48) -> str:
    """``text`` on one line of at most ``width`` characters, with nothing that matplotlib would interpret."""
    # A dollar sign would start its formula mode, and a leading underscore hides a legend entry.
    return shortened(" ".join(text.split()), width).replace("$", r"\$").lstrip("_") or "–"


def wrapped(text: str, width: int = 48) -> str:
    """``text`` in lines of at most ``width`` characters, four lines at most."""
    return "\n".join(plain(line, width) for line in textwrap.wrap(text, width)[:4])


def shortened(text: str, limit: int, keep_end: bool = False) -> str:
    """``text`` cut to ``limit`` characters, at its end or at its start."""
    if len(text) <= limit:
        return text
    return "…" + text[-limit + 1 :] if keep_end else text[: limit - 1] + "…"
