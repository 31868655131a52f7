"""Claim: zeros save time. Latency of MiniLM, 128 tokens, batch 1: dense engines against l0compile, dense and pruned.

    python benchmarks/minilm.py [--blocks 20]

Every engine runs in a process of its own; all take turns, block by block in random order, so that ratios are paired.
Pruning is by magnitude, for speed only. Appends to ``benchmarks/results/minilm.jsonl``.
"""

import argparse
import tempfile
from pathlib import Path

from harness import minilm, record

import l0compile as l0
from l0compile.measurement import Measurement, Protocol, Workload, export_onnx, measure_engines, ratio

TOKENS = 128
PRUNED = [((4, 1), 0.5), ((4, 1), 0.2), ((4, 4), 0.2), ((4, 1), 0.1), ((4, 4), 0.1)]


def jobs(folder: Path) -> dict[str, tuple[str, Workload]]:
    """Compile and export everything; name -> (engine, workload)."""
    factory = Workload(
        factory="l0compile.tasks.sentence:dense_workload", factory_kwargs={"batch": 1, "tokens": TOKENS}
    )
    example = minilm.inputs(1, TOKENS)
    onnx = export_onnx(minilm.encoder(), example, folder / "dense.onnx")
    result = {"pytorch": ("pytorch", factory)}
    for engine in ("onnxruntime", "openvino"):
        result[engine] = (engine, Workload(**{**vars(factory), "onnx_path": str(onnx)}))
    models = {"l0compile dense": minilm.encoder()}
    models |= {f"l0compile {r}x{c} at {d}": minilm.encoder((r, c), d) for (r, c), d in PRUNED}
    for name, model in models.items():
        path = folder / name.replace(" ", "_")
        l0.compile(model, example, dynamic_shapes=minilm.DYNAMIC, engine="tvm").save(path)
        result[name] = ("l0compile", Workload(**{**vars(factory), "artifact": str(path)}))
    return result


def main() -> None:
    """Measure all engines, and append one row for each, with its speed-up over each dense baseline."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=20, help="measured blocks an engine (default 20)")
    blocks = parser.parse_args().blocks
    with tempfile.TemporaryDirectory() as folder:
        measured = measure_engines(jobs(Path(folder)), Protocol(blocks=blocks))
    for name, measurement in measured.items():
        row: dict[str, object] = {"name": name, "tokens": TOKENS, "error": measurement.error}
        if measurement.ok:
            row |= {
                "median_ms": measurement.median_ms,
                "low_ms": measurement.low_ms,
                "high_ms": measurement.high_ms,
            }
            row |= {"noisy": measurement.noisy, "speedup": speedups(measurement, measured)}
        record.append("minilm", row)


def speedups(measurement: Measurement, measured: dict[str, Measurement]) -> dict[str, list[float]]:
    """Compare with each baseline: name -> [ratio, low, high]; above 1 means faster than the baseline."""
    result = {}
    for baseline in ("pytorch", "onnxruntime", "openvino"):
        if measured[baseline].ok:
            found = ratio(measured[baseline], measurement, paired=True)
            result[baseline] = [round(v, 3) for v in (found.value, found.low, found.high)]
    return result


if __name__ == "__main__":
    main()
