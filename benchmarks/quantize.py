"""Claim: MiniLM with linear layers of 8-bit integers keeps Spearman >= 0.998, without training.

    python benchmarks/quantize.py [--sentences 128] [--text FOLDER]

The scales come from some training sentences of IMDB, cut at 128 tokens; ``quality`` is the Spearman correlation of
pairwise similarities with the dense model on 400 held-out sentences, ``cosine`` the mean cosine of both embeddings. The
answers are those of the model in PyTorch, so they say nothing about time; ``cpu_s`` is the processor time of
``l0.quantize`` in one thread.
On the same text NNCF's int8 has 0.9978, ONNX Runtime's dynamic int8 0.9927. ``worst`` names the layers with the largest
error. Appends to ``benchmarks/results/quantize.jsonl``.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from harness import record
from torch import Tensor, nn

import l0compile as l0
from l0compile.quantization.record import LayerPrecision
from l0compile.tasks.embedding import Encoded, encode, load_encoder
from l0compile.tasks.spearman import similarity_spearman
from l0compile.tasks.text import load_corpus

WAYS = (
    {"precision": "int8", "rounding": "nearest"},
    {"precision": "int8", "rounding": "compensated"},
    {"precision": "bfloat16"},
)
HELD_OUT, TOKENS, TRAIN = 400, 128, 2048


def main() -> None:
    """Append one row for each way to quantise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=128)
    parser.add_argument("--text", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)  # a second one spins while it waits, and that counts as processor time
    corpus = load_corpus(options.text, train=TRAIN)
    calibration = encode(corpus.train[: options.sentences], max_tokens=TOKENS)
    batches = [batch.inputs for batch in calibration.equal_length_batches(16, limit=options.sentences)]
    held_out = encode(corpus.held_out[:HELD_OUT], max_tokens=TOKENS)
    model = load_encoder()
    reference = embeddings(model, held_out)
    for way in WAYS:
        base = {**way, "sentences": options.sentences, "text": corpus.source}
        record.append("quantize", {**base, **measured(model, batches, held_out, reference, way)})


def measured(
    model: nn.Module, batches: list[Any], held_out: Encoded, reference: Tensor, way: dict[str, str]
) -> dict[str, Any]:
    """Quantise in one way and compare embeddings with the dense ones."""
    start = time.process_time()
    narrow = l0.quantize(model, batches, **way)
    cpu_s = time.process_time() - start
    found = embeddings(narrow, held_out)
    records: tuple[LayerPrecision, ...] = narrow.quantization
    worst = sorted(records, key=lambda layer: -layer.error)[:4]
    return {
        "quality": round(similarity_spearman(found, reference), 5),
        "cosine": round(float((found * reference).sum(1).mean()), 5),
        "cpu_s": round(cpu_s, 1),
        "float32": [layer.name for layer in records if layer.precision == "float32"],
        "worst": {layer.name: float(f"{layer.error:.2g}") for layer in worst},
    }


@torch.no_grad()
def embeddings(model: nn.Module, sentences: Encoded) -> Tensor:
    """Embed all sentences [n, width], in their order."""
    found = torch.empty(len(sentences.ids), 384)
    for batch in sentences.batches(32):
        found[batch.rows] = model(*batch.inputs)
    return found


if __name__ == "__main__":
    main()
