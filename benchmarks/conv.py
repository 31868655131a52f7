"""Claim: convolutions run at the machine's limit, and zeros in them save time.

    python benchmarks/conv.py [--layers NAME...] [--blocks 10]

Layers of ResNet-50 and MobileNetV2 on one image, six of a kind in a row, dense and with blocks of zeros, against the
best dense engine. ``efficiency`` is the time of that engine times the density, over our time; it is 1 if time is
proportional to density. Every engine runs in a process of its own, and all take turns. Appends to
``benchmarks/results/conv.jsonl``.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from harness import convolutions, record

import l0compile as l0
from l0compile.measurement import Measurement, Protocol, Workload, export_onnx, measure_engines, ratio

DENSE_ENGINES = ("pytorch", "torch.compile", "onnxruntime", "openvino")
PRUNED: list[tuple[list[int], float]] = [
    ([4, 1], 0.5),
    ([4, 1], 0.2),
    ([4, 1], 0.1),
    ([4, 4], 0.2),
    ([1, 1], 0.1),
]


def main() -> None:
    """Measure layer by layer; append one row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", nargs="+", choices=convolutions.LAYERS, default=[*convolutions.LAYERS])
    parser.add_argument("--blocks", type=int, default=10, help="measured blocks an engine (default 10)")
    options = parser.parse_args()
    for name in options.layers:
        with tempfile.TemporaryDirectory() as folder:
            measured = measure_engines(jobs(name, Path(folder)), Protocol(blocks=options.blocks))
        record.append("conv", row(name, measured))


def jobs(name: str, folder: Path) -> dict[str, tuple[str, Workload]]:
    """Compile and export everything; label -> (engine, workload)."""
    factory = Workload(factory="harness.convolutions:make", factory_kwargs={"name": name})
    model, args = convolutions.make(name)
    onnx = str(export_onnx(model, args, folder / "dense.onnx"))
    found = {engine: (engine, Workload(**{**vars(factory), "onnx_path": onnx})) for engine in DENSE_ENGINES}
    depthwise = convolutions.LAYERS[name][-1]
    for label, block, density in [("dense", None, 1.0), *([] if depthwise else labelled())]:
        path = str(folder / label)
        l0.compile(convolutions.make(name, block, density)[0], args, engine="tvm").save(path)
        found[label] = ("l0compile", Workload(**{**vars(factory), "artifact": path}))
    return found


def labelled() -> list[tuple[str, list[int] | None, float]]:
    return [(f"{block[0]}x{block[1]} at {density}", block, density) for block, density in PRUNED]


def row(name: str, measured: dict[str, Measurement]) -> dict[str, Any]:
    """Make a row: medians with their intervals, and our efficiency against the best dense engine."""
    result: dict[str, Any] = {"name": name}
    for label, m in measured.items():
        result[label] = m.error or [round(v, 4) for v in (m.median_ms, m.low_ms, m.high_ms)]
    best = min(
        (measured[e] for e in DENSE_ENGINES if measured[e].ok), key=lambda m: m.median_ms, default=None
    )
    densities = {"dense": 1.0} | {label: density for label, _, density in labelled()}
    for label, density in densities.items():
        if best is not None and label in measured and measured[label].ok:
            faster = ratio(best, measured[label], paired=True)
            result[f"{label}: speedup"] = [round(v, 3) for v in (faster.value, faster.low, faster.high)]
            result[f"{label}: efficiency"] = round(faster.value * density, 3)
    return result


if __name__ == "__main__":
    main()
