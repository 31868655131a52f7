"""Claim: compiled = gated. Largest difference over the largest value, for several shapes and kinds of zeros.

    python benchmarks/exactness.py

One compiled model with symbolic batch and sequence serves all shapes. Appends to ``results/exactness.jsonl``.
"""

import torch
from harness import minilm, record
from torch import nn

import l0compile as l0

SHAPES = [(batch, tokens) for batch in (1, 8) for tokens in (1, 17, 64, 128, 200, 512)]


def gated() -> nn.Module:
    """Give the encoder gates of every kind, with random and also fractional values, and harden them to a third."""
    model = minilm.encoder()
    layer = "bert.encoder.layer.[0-9]"
    l0.attach(model, {
        f"{layer}.attention.self.[qkv]*": l0.Block(4, 1),
        f"{layer}.attention.output.dense": (l0.Block(4, 4), l0.Head(12)),
        f"{layer}.output.dense": (l0.Block(8, 1), l0.Neuron()),
    })  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("log_alpha"):
                parameter.copy_(3 * torch.randn(parameter.shape, generator=generator) + 1)
    return l0.harden(model, 0.35).eval()


def main() -> None:
    """Compile each model once, compare it at every shape, and append the worst and all values."""
    models = {
        "dense": minilm.encoder(),
        "4x1 blocks at density 0.2": minilm.encoder((4, 1), 0.2),
        "4x4 blocks at density 0.2": minilm.encoder((4, 4), 0.2),
        "heads, neurons and blocks gated": gated(),
    }
    for name, model in models.items():
        compiled = l0.compile(model, minilm.inputs(2, 24), dynamic_shapes=minilm.DYNAMIC, engine="tvm")
        differences = {}
        for batch, tokens in SHAPES:
            ids, mask = minilm.inputs(batch, tokens, padded=batch > 1)
            with torch.no_grad():
                expected = model(ids, mask)
            actual = compiled(ids, mask)
            differences[f"{batch}x{tokens}"] = float((actual - expected).abs().max() / expected.abs().max())
        worst = max(differences.values())
        record.append(
            "exactness", {"name": name, "worst": worst, "limit": 2e-5, "batch x tokens": differences}
        )


if __name__ == "__main__":
    main()
