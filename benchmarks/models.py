"""Claim: a pruned model is nearly 1 / density faster than the best dense engine. One request at a time, float32.

    python benchmarks/models.py [--models "MiniLM 128" ...] [--densities 1 0.2] [--blocks 4x1] [--folder KEEP]

Engines: PyTorch, torch.compile, ONNX Runtime and OpenVINO on the dense model, each in a process of its own, and
l0compile on the model with only the given share of 4x1 and 4x4 blocks left in its linear layers and convolutions (by
magnitude; only MiniLM has trained weights). All take turns, so ratios are paired. Speed-ups wanted over the best dense
engine: MiniLM 1.15 at density 1, 4.5 at 0.2 and 7 at 0.1; BERT-base (128 and 512 tokens) and ViT-B/16 6 at 0.1;
ResNet-50 2.5 at 0.2.

``--folder`` keeps compiled and exported models for another run, and ``--build`` only builds them; ``--engines`` chooses
among the dense engines. Appends to ``benchmarks/results/models.jsonl``.
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import networks, record

import l0compile as l0
from l0compile.measurement import Measurement, Protocol, Workload, export_onnx, measure_engines, ratio

DENSE = ("pytorch", "torch.compile", "onnxruntime", "openvino")
DENSITIES = (1.0, 0.5, 0.2, 0.1)
BLOCKS = ("4x1", "4x4")
Job = tuple[str, Workload]


def main() -> None:
    """Build what is missing and measure, one model after the other."""
    options = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        for name in options.models:
            jobs = dict(job for job in all_jobs(name, folder, options))
            gc.collect()
            if not options.build:
                measured = measure_engines(jobs, Protocol(blocks=options.rounds, block_s=options.block_s))
                for row in rows(name, measured):
                    record.append("models", row)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=networks.NETWORKS, default=[*networks.NETWORKS])
    parser.add_argument("--densities", nargs="+", type=float, default=DENSITIES)
    parser.add_argument("--blocks", nargs="+", choices=BLOCKS, default=BLOCKS, help="block shapes")
    parser.add_argument("--engines", nargs="*", choices=DENSE, default=DENSE, help="dense engines")
    parser.add_argument("--rounds", type=int, default=20, help="measured blocks per engine (default 20)")
    parser.add_argument(
        "--block-s", type=float, default=0.1, help="length of a block in seconds (default 0.1)"
    )
    parser.add_argument("--folder", help="where to keep compiled and exported models")
    parser.add_argument("--build", action="store_true", help="build only")
    return parser.parse_args()


def all_jobs(name: str, folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, Job]]:
    """List (label, job) of every engine and density, and build what the folder lacks."""
    factory = {"factory": "harness.networks:make", "factory_kwargs": {"name": name}}
    for engine in options.engines:
        onnx = onnx_file(name, folder) if engine in ("onnxruntime", "openvino") else None
        yield engine, (engine, Workload(**factory, onnx_path=onnx))
    for density in options.densities:
        for block in options.blocks if density < 1 else ("",):
            label = f"l0compile {density:g} {block}".rstrip()
            yield label, ("l0compile", Workload(**factory, artifact=artifact(name, block, density, folder)))


def onnx_file(name: str, folder: Path) -> str:
    """Export the dense model as ONNX, at the size that is measured."""
    path = folder / f"{plain(name)}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        export_onnx(*networks.make(name), path)
    return str(path)


def artifact(name: str, block: str, density: float, folder: Path) -> str:
    """Prune and compile the model."""
    network = networks.NETWORKS[name]
    path = folder / f"{plain(network.variant_of or name)}_{density:g}_{block}"
    if not path.exists():
        shape = [int(size) for size in block.split("x")] if block else [1, 1]
        model, inputs = networks.make(network.variant_of or name, *shape, density)
        l0.compile(model, inputs, dynamic_shapes=network.dynamic, engine="tvm").save(path)
    return str(path)


def plain(name: str) -> str:
    """Turn a name into one that a file can have."""
    return name.replace(" ", "_").replace("/", "-")


def rows(name: str, measured: dict[str, Measurement]) -> Iterator[dict[str, Any]]:
    """Make a row for each engine; ours has the speed-up over the best dense one as [ratio, low, high]."""
    dense = {label: found for label, found in measured.items() if label in DENSE and found.ok}
    best = min(dense, key=lambda label: dense[label].median_ms, default=None)
    for label, found in measured.items():
        row: dict[str, Any] = {"model": name, "engine": label, "error": found.error}
        if found.ok:
            row |= {key: round(getattr(found, key), 3) for key in ("median_ms", "low_ms", "high_ms")}
            row["noisy"] = found.noisy
        if found.ok and best is not None and label != best:
            speedup = ratio(dense[best], found, paired=True)
            values = [round(value, 3) for value in (speedup.value, speedup.low, speedup.high)]
            row |= {"best_dense": best, "speedup": values}
        yield row


if __name__ == "__main__":
    main()
