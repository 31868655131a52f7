"""Claim: gates cost a sentiment model little accuracy. MiniLM fine-tuned on IMDB, judged by all 25,000 test reviews.

    python benchmarks/imdb.py [--quick] [--parts dense features compiled blocks] [--seeds 5] [--folder KEEP]

- ``dense``: the fine-tuned model. Wanted: 0.88.
- ``features``: gates on the pooled vector, trained with the head on vectors that the encoder has computed once; seeds
  differ in the head. Wanted: within 0.5 points at 25 %, and the active fraction within 1 % of what was asked for.
- ``compiled``: the first of these at 25 %, in the whole model, compiled. Wanted: no prediction flips.
- ``blocks``: whole heads and 4x1, 4x4 or 8x1 blocks of all layers, fitted to a quarter of ONNX Runtime's dense time,
  distilled, compiled. Wanted: within 2 points, no flips. ``over ... int8`` compares with ONNX Runtime's dynamic int8.

The first run fine-tunes MiniLM and computes the vectors, which the cache of trained models keeps. ``--quick`` uses few
reviews and steps: it shows that everything works. Appends to ``benchmarks/results/imdb.jsonl``.
"""

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any

from harness import record, sentiment

from l0compile.compiler.compile import compile as compile_model
from l0compile.measurement.stopwatch import Job
from l0compile.studies.space.read import read_space
from l0compile.studies.space.space import Space
from l0compile.tasks import ImdbEmbeddings, ImdbOptions, ImdbTask
from l0compile.tasks.imdb.embeddings import transplanted

SPACE = Path(__file__).parents[1] / "search_spaces" / "imdb.toml"
PARTS = ("dense", "features", "compiled", "blocks")
FRACTIONS = (1.0, 0.75, 0.5, 0.25, 0.1, 0.05)
QUICK = {
    "tokens": 32, "train_tokens": 32, "steps": 16, "train_reviews": 512, "validation_reviews": 64,
    "held_out_reviews": 256, "calibration_reviews": 32,
}  # fmt: skip


def main() -> None:
    """Append one row for each part and fraction."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, help="of distillation after pruning; default: those of the space"
    )
    parser.add_argument("--folder", type=Path, help="where to keep candidates; default: a temporary one")
    args = parser.parse_args()
    space = _space(args.quick, args.steps)
    everything = dataclasses.replace(
        space.options,
        validation_reviews=ImdbOptions().validation_reviews,
        held_out_reviews=25_000,
        distil=False,
    )
    vectors = ImdbEmbeddings(everything if not args.quick else space.options)
    dense = vectors.texts.dense()
    wanted = sentiment.accuracy(vectors, vectors.logits(dense.head, "held_out"))  # type: ignore[operator]
    base = {"quick": args.quick, "dense_accuracy": wanted, "reviews": len(vectors.labels("held_out"))}
    if "dense" in args.parts:
        options = dataclasses.asdict(vectors.options)
        record.append("imdb", {"axis": "dense", **base, "options": options})
    if "features" in args.parts:
        for fraction in FRACTIONS:
            record.append("imdb", {"axis": "features", **base, **_features(vectors, fraction, args.seeds)})
    if "compiled" in args.parts:
        record.append("imdb", {"axis": "compiled", **base, **_compiled(vectors)})
    if "blocks" in args.parts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = args.folder or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            record.append("imdb", {"axis": "blocks", **base, **_blocks(space, vectors.texts, folder)})


def _space(quick: bool, steps: int | None) -> Space:
    space = read_space(SPACE)
    plan = space.training if steps is None else dataclasses.replace(space.training, tune_steps=steps)
    space = dataclasses.replace(space, training=plan)
    return (
        dataclasses.replace(space.quick(), options=dataclasses.replace(space.options, **QUICK))
        if quick
        else space
    )


def _features(vectors: ImdbEmbeddings, fraction: float, seeds: int) -> dict[str, Any]:
    found, shares = [], []
    for seed in range(seeds):
        head, share = sentiment.gated_head(vectors, fraction, seed)
        found.append(sentiment.accuracy(vectors, vectors.logits(head, "held_out")))
        shares.append(share)
    return {
        "fraction": fraction,
        "achieved": shares,
        "accuracy": statistics.mean(found),
        "spread": statistics.stdev(found) if seeds > 1 else None,
        "each": found,
    }


def _compiled(vectors: ImdbEmbeddings) -> dict[str, Any]:
    head, share = sentiment.gated_head(vectors, 0.25, 0)
    task = vectors.texts
    model = transplanted(task.dense(), head)
    compiled = compile_model(model, task.example(), dynamic_shapes=task.dynamic_shapes(), engine="tvm")
    wanted = vectors.logits(head, "held_out")  # of the whole model too: its encoder made the vectors
    accuracy = sentiment.accuracy(task, wanted)
    return {"achieved": share, "accuracy": accuracy, **sentiment.against(task, wanted, compiled)}


def _blocks(space: Space, judge: ImdbTask, folder: Path) -> dict[str, Any]:
    found = sentiment.pruned(space, ImdbTask(space.options), folder)
    times = sentiment.speedups(found.jobs | _int8(found.jobs, folder))
    print(found.facts, times, flush=True)
    wanted = judge.logits(found.model, "held_out")
    accuracy = sentiment.accuracy(judge, wanted)
    return {**found.facts, **times, "accuracy": accuracy, **sentiment.against(judge, wanted, found.compiled)}


def _int8(jobs: dict[str, Job], folder: Path) -> dict[str, Job]:
    """Return the job of ONNX Runtime's dynamic int8, which is another model: its answers are not compared."""
    from onnxruntime.quantization import quantize_dynamic

    engine, workload = jobs["dense ONNX Runtime"]
    target = folder / "dense-int8.onnx"
    quantize_dynamic(workload.onnx_path, target)
    return {"dense ONNX Runtime int8": (engine, dataclasses.replace(workload, onnx_path=str(target)))}


if __name__ == "__main__":
    main()
