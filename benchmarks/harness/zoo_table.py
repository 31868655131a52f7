"""The zoo's results as a Markdown table."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from l0compile.measurement import Measurement, Ratio, ratio

HEADER = """# The zoo

Every model of `tests/zoo`, with random weights, compiled with no zeros, with half and nine tenths of its heads,
neurons, channels or experts zero, and with nine tenths of its 4x1 and 4x4 blocks zero. `python benchmarks/zoo.py`
writes this file.

- **exact**: largest difference of any output over its largest value, the worst of all settings and of two input sizes;
  the limit is 2e-05.
- **islands**: parts that PyTorch runs in the compiled model, with the operators that made them so.
- **regions** at 90 % structured: compacted, block-sparse, dropped, left dense.
- **faster than dense**: time of the dense model through l0compile over that of the pruned one, at 90 % structured and
  at 90 % block zeros. **dense against torch**: time of the better of PyTorch eager and `torch.compile` over that of
  l0compile, both dense. Each with the engine that `l0.compile` chose; medians of paired blocks, each engine in its own
  process, widths four times those of the tests.

"""

COLUMNS = (
    "model", "exact", "islands", "compacted", "block-sparse", "dropped", "dense", "engine",
    "90 % structured", "90 % block", "dense against torch",
)  # fmt: skip


def timing(measured: Mapping[str, Measurement]) -> dict[str, Any]:
    """Compute the ratios of the table from the measurements of ``benchmarks/zoo.py``."""
    found: dict[str, Any] = {
        "median_ms": {name: round(m.median_ms, 4) for name, m in measured.items() if m.ok},
        "errors": {name: m.error for name, m in measured.items() if not m.ok},
        "noisy": sorted(name for name, m in measured.items() if m.ok and m.noisy),
    }
    dense = measured.get("dense")
    if dense is None or not dense.ok:
        return found
    for name in ("90% structured", "90% block"):
        if name in measured and measured[name].ok:
            found[name] = _interval(ratio(dense, measured[name], paired=True))
    torches = [measured[name] for name in ("pytorch", "torch.compile") if measured[name].ok]
    if torches:
        best = min(torches, key=lambda m: m.median_ms)
        found["against torch"] = _interval(ratio(best, dense, paired=True))
    return found


def _interval(value: Ratio) -> list[float]:
    return [round(v, 3) for v in (value.value, value.low, value.high)]


def write(results: Path, target: Path) -> None:
    """Render the latest row of each model in ``results`` (JSON lines) to ``target``."""
    rows: dict[str, dict[str, Any]] = {}
    for line in results.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["name"]] = {**rows.get(row["name"], {}), **row}
    target.parent.mkdir(exist_ok=True)
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    table = "\n".join([*head, *map(render, rows.values())])
    target.write_text(f"{HEADER}{table}\n{totals(rows.values())}", encoding="utf-8")


def render(row: Mapping[str, Any]) -> str:
    """Format a row as a line of the table."""
    settings, timed = row["settings"], row.get("timing", {})
    errors = sorted({s["error"]["type"] for s in settings.values() if "error" in s})
    worst = max((s["difference"] for s in settings.values() if "difference" in s), default=None)
    exact = ", ".join(errors) if errors else f"{worst:.1e}"
    at = settings.get("90% structured", {})
    formats = at.get("formats", {})
    counts = [str(formats.get(name, 0)) for name in ("compact", "bsr", "dropped", "dense")]
    engine = "/".join(sorted(set(row.get("engines", {}).values()))) or "–"
    ratios = [show(timed.get(name)) for name in ("90% structured", "90% block", "against torch")]
    cells = [row["name"], exact, islands(at), *counts, engine, *ratios]
    return "| " + " | ".join(cells) + " |"


def islands(setting: Mapping[str, Any]) -> str:
    """Describe the islands: how many, and the operators in them."""
    found = setting.get("islands", [])
    operators = sorted({name.removesuffix(".default") for island in found for name in island})
    return f"{len(found)}: {', '.join(operators)}" if found else "0"


def show(interval: list[float] | None) -> str:
    return "–" if interval is None else f"{interval[0]:.2f}× [{interval[1]:.2f}, {interval[2]:.2f}]"


def totals(rows: Iterable[Mapping[str, Any]]) -> str:
    """Sum up the whole table."""
    rows = [*rows]
    exact = sum(
        all("difference" in s and s["difference"] <= 2e-5 for s in row["settings"].values()) for row in rows
    )
    whole = sum(
        not row["settings"].get("90% structured", {"islands": [0]}).get("islands", [0]) for row in rows
    )
    return f"\nExact: {exact} of {len(rows)}. Without islands: {whole} of {len(rows)}.\n"
