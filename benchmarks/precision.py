"""Claim: zeros times fewer bits beat dense int8. Whole models against OpenVINO's float32, bfloat16 and int8.

    python benchmarks/precision.py [--models "MiniLM 128" ...] [--densities 1 0.5 0.2] [--folder KEEP] [--build]

OpenVINO's int8 is made by NNCF, for transformers where the model is one; its other operators run in float32 or, as
``int8+bf16``, in bfloat16. ONNX Runtime's is its dynamic int8. Ours is ``l0.quantize`` with attention in bfloat16,
where the machine multiplies such numbers, dense and with a share of the 4x4 blocks left (by magnitude: for speed, not
for quality). Every engine runs in a process of its own, and all take turns.

Wanted over the best int8 of OpenVINO: MiniLM 1.4, 2.2 and 3.3 at densities 1, 0.5 and 0.2; BERT-base with 128 tokens
1.1 dense and 3.3 at 0.2; with 512 tokens 2.7, ViT-B/16 3.3; ResNet-50 0.9 dense and 2.2 at 0.2. ``quality`` of
MiniLM's dense models is the Spearman correlation of similarities with the float32 model on 400 held-out sentences of
IMDB. Appends to ``benchmarks/results/precision.jsonl``.
"""

import argparse
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import narrow_models, networks, record

from l0compile.measurement import Measurement, Protocol, Workload, export_onnx, measure_engines, ratio

MODELS = ("MiniLM 128", "BERT-base 128", "BERT-base 512", "ViT-B/16", "ResNet-50")
INT8 = ("OpenVINO int8", "OpenVINO int8+bf16")
Job = tuple[str, Workload]


def main() -> None:
    """Build what is missing and measure, one model after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--densities", nargs="+", type=float, default=(1.0, 0.5, 0.2))
    parser.add_argument("--rounds", type=int, default=20, help="measured blocks per engine (default 20)")
    parser.add_argument("--folder", type=Path, help="where to keep compiled and exported models")
    parser.add_argument("--build", action="store_true", help="build only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for name in options.models:
            jobs = dict(all_jobs(name, folder, options.densities))
            gc.collect()
            if not options.build:
                measured = measure_engines(jobs, Protocol(blocks=options.rounds))
                quality = narrow_models.qualities(folder) if name == "MiniLM 128" else {}
                for row in rows(name, measured):
                    known = quality.get(row["engine"])
                    record.append("precision", row if known is None else row | {"quality": known})


def all_jobs(name: str, folder: Path, densities: Any) -> Iterator[tuple[str, Job]]:
    """List (label, job) of every engine, and build what the folder lacks."""
    factory: dict[str, Any] = {"factory": "harness.networks:make", "factory_kwargs": {"name": name}}
    place = folder / name.replace(" ", "_").replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    dense = place / "dense.onnx"
    if not dense.exists():
        export_onnx(*networks.make(name), dense)
    yield "OpenVINO f32", ("openvino", Workload(**factory, onnx_path=str(dense)))
    yield "OpenVINO bf16", ("openvino-bf16", Workload(**factory, onnx_path=str(dense)))
    int8 = narrow_models.openvino_int8(name, dense, place)
    for label, engine in zip(INT8, ("openvino", "openvino-bf16"), strict=True):
        yield label, (engine, Workload(**factory, onnx_path=str(int8)))
    dynamic = narrow_models.onnxruntime_int8(dense, place)
    yield "ONNX Runtime int8", ("onnxruntime", Workload(**factory, onnx_path=str(dynamic)))
    for precision in ("float32", "bfloat16", "int8"):
        for density in densities if precision == "int8" else (1.0,):
            artifact = narrow_models.ours(name, precision, density, place)
            yield (
                f"l0compile {precision} {density:g}",
                ("l0compile", Workload(**factory, artifact=str(artifact))),
            )


def rows(name: str, measured: dict[str, Measurement]) -> Iterator[dict[str, Any]]:
    """Make a row for each engine, with its speed-up over the best int8 of OpenVINO as [ratio, low, high]."""
    able = [label for label in INT8 if measured[label].ok]
    best = min(able, key=lambda label: measured[label].median_ms, default=None)
    for label, found in measured.items():
        row: dict[str, Any] = {"model": name, "engine": label, "error": found.error}
        if found.ok:
            row |= {key: round(getattr(found, key), 3) for key in ("median_ms", "low_ms", "high_ms")}
            row["noisy"] = found.noisy
        if found.ok and best is not None:
            faster = ratio(measured[best], found, paired=True)
            row |= {"over": best, "speedup": [round(v, 3) for v in (faster.value, faster.low, faster.high)]}
        yield row


if __name__ == "__main__":
    main()
