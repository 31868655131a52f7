"""Where the time of a pruned model goes, and how far each part is from the limit of the machine.

    python benchmarks/gaps.py [--models "MiniLM 128" ...] [--density 0.1]

Each part of a call (the kernels of one operator; everything else) is timed in launches of its own. ``limit_ms`` is the
time of its multiplications at the speed of PyTorch's best matrix product on this machine, or None if it multiplies
nothing. Appends to ``benchmarks/results/gaps.jsonl``.
"""

import argparse
import re
from collections import defaultdict

import torch
from harness import networks, record, roofline
from torch import nn

import l0compile as l0

MODELS = ("MiniLM 128", "BERT-base 128", "BERT-base 512", "ViT-B/16")


def main() -> None:
    """Append one row for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=networks.NETWORKS, default=MODELS)
    parser.add_argument("--density", type=float, default=0.1)
    options = parser.parse_args()
    peak = roofline.limits()["gflop_per_s"]
    for name in options.models:
        model, inputs = networks.make(name, 4, 1, options.density)
        compiled = l0.compile(model, inputs, engine="tvm")
        work = multiplications(model, inputs)
        profile = compiled.profile(*inputs)
        spent: dict[str, float] = defaultdict(float)
        for item in profile.functions:
            spent[part(item.function) if item.kind == "kernel" else "other operators"] += item.ms
        spent["between"] = profile.between_ms
        parts = {
            kind: {
                "ms": round(ms, 3),
                "share": round(ms / profile.total_ms, 3),
                "limit_ms": round(work[kind] / peak / 1e6, 3) if kind in work else None,
            }
            for kind, ms in sorted(spent.items(), key=lambda pair: -pair[1])
        }
        row = {"model": name, "density": options.density, "total_ms": round(profile.total_ms, 3)}
        record.append("gaps", {**row, "peak_gflop_per_s": peak, "parts": parts})


def part(function: str) -> str:
    """Return the operator in the name of a kernel: ``linear_3`` -> ``linear``."""
    return re.sub(r"_\d+$", "", function)


def multiplications(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> dict[str, float]:
    """Count the floating-point operations of a call: those of weights that are not zero, and those of attention."""
    found: dict[str, float] = defaultdict(float)
    handles = []

    def linear(layer: nn.Linear, args: tuple[torch.Tensor, ...]) -> None:
        found["linear"] += 2.0 * int(layer.weight.count_nonzero()) * args[0].numel() / layer.in_features

    for module in model.modules():
        if isinstance(module, nn.Linear):
            handles.append(module.register_forward_pre_hook(linear))
    real = nn.functional.scaled_dot_product_attention

    def attention(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: object, **named: object
    ) -> object:
        queries, keys = q.numel() / q.shape[-1], k.shape[-2]
        found["attention"] += 2.0 * queries * keys * (q.shape[-1] + v.shape[-1])
        return real(q, k, v, *rest, **named)

    nn.functional.scaled_dot_product_attention = attention  # type: ignore[assignment]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        nn.functional.scaled_dot_product_attention = real
        for handle in handles:
            handle.remove()
    return found


if __name__ == "__main__":
    main()
