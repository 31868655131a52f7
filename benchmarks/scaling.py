"""Claim: time is proportional to density, tokens and layers. A BERT of MiniLM's width, and single linear layers.

    python benchmarks/scaling.py [--folder KEEP] [--build] [--plot]

From one model (4 layers, 128 tokens, density 0.2 in 4x1 blocks, all cores) one axis varies at a time. ``ideal_ms`` is
the dense time times the density, the time of the middle point in proportion to tokens or layers, or the time of one
thread over the number of threads. Single linear layers, with packing and unpacking, are compared with the limits of the
machine: PyTorch's best matrix product, and copies from memory and from the L2 cache. ``--folder`` keeps compiled
models, ``--build`` only builds them, and ``--plot`` only draws the last measurement. Appends to
``benchmarks/results/scaling.jsonl`` and draws ``scaling.png`` and ``roofline.png``.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from harness import record
from harness.plots import draw_roofline, draw_scaling
from harness.pruning import prune_model
from harness.roofline import flop_and_bytes, limits
from torch import Tensor, nn
from transformers import BertConfig, BertModel

import l0compile as l0
from l0compile.hardware.targets import available_cores
from l0compile.measurement import Protocol, Workload, measure_engine

LAYERS, TOKENS, DENSITY, BLOCK = 4, 128, 0.2, (4, 1)
AXES: dict[str, tuple[float, ...]] = {
    "density": (1.0, 0.5, 0.2, 0.1, 0.05),
    "tokens": (1, 8, 32, 128, 512, 1024),
    "layers": (1, 2, 4, 8),
    "threads": tuple(range(1, available_cores() + 1)),
}
WIDTHS = ((384, 1536), (768, 3072))
ROOFLINE = [
    (k, n, tokens, density) for k, n in WIDTHS for tokens in (1, 8, 32, 128, 512) for density in (1.0, 0.1)
]
PROTOCOL = Protocol(warmup_s=0.05, blocks=8, block_s=0.03, settle_s=0.01)


class Encoder(nn.Module):
    """Random weights: int64 [batch, seq] -> [batch, seq, 384]."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        sizes = {"hidden_size": 384, "intermediate_size": 1536, "max_position_embeddings": 1024}
        config = BertConfig(num_hidden_layers=layers, vocab_size=1000, **sizes)
        self.bert = BertModel(config, add_pooling_layer=False)

    def forward(self, ids: Tensor) -> Tensor:
        state: Tensor = self.bert(input_ids=ids).last_hidden_state
        return state


def ids(tokens: int) -> tuple[Tensor]:
    """One sentence."""
    return (torch.randint(0, 1000, (1, tokens), generator=torch.Generator().manual_seed(tokens)),)


def factory(tokens: int) -> tuple[nn.Module, tuple[Tensor]]:
    """Return the inputs, for the process that measures."""
    return nn.Identity(), ids(tokens)


def encoder(folder: Path, layers: int, density: float) -> Path:
    """Return the compiled encoder for any number of tokens, and build it if it is missing."""
    path = folder / f"encoder_{layers}_{density:g}"
    if not path.exists():
        model = Encoder(layers).eval().requires_grad_(False)
        model = model if density == 1 else prune_model(model, BLOCK, density)
        shapes = {"ids": {0: "batch", 1: "seq"}}
        l0.compile(model, ids(24), dynamic_shapes=shapes, engine="tvm").save(path)
    return path


def linear(folder: Path, k: int, n: int, tokens: int, density: float) -> tuple[Path, nn.Linear]:
    """Return a linear layer, compiled for some number of tokens, and the layer itself."""
    path = folder / f"linear_{k}_{n}_{tokens}_{density:g}"
    torch.manual_seed(0)
    layer = nn.Linear(k, n).eval().requires_grad_(False)
    if density < 1:
        prune_model(layer, BLOCK, density)
    if not path.exists():
        l0.compile(layer, (torch.randn(tokens, k),), engine="tvm").save(path)
    return path, layer


def points() -> Iterator[tuple[str, float, dict[str, Any]]]:
    """List the points: (axis, value on it, all settings)."""
    middle = {"density": DENSITY, "tokens": TOKENS, "layers": LAYERS, "threads": available_cores()}
    for axis, values in AXES.items():
        for value in values:
            yield axis, value, middle | {axis: value}


def scaling(folder: Path) -> Iterator[dict[str, Any]]:
    """Make a row for each point."""
    rows = []
    for axis, value, at in points():
        path = encoder(folder, int(at["layers"]), at["density"])
        if axis == "threads":
            job = Workload("scaling:factory", {"tokens": TOKENS}, artifact=str(path))
            found = measure_engine("l0compile", job, PROTOCOL, int(value))
        else:
            found = l0.measure(l0.load(path), ids(int(at["tokens"])), PROTOCOL)
        times = {key: round(getattr(found, key), 4) for key in ("median_ms", "low_ms", "high_ms")}
        rows.append({"axis": axis, "value": value, **times, "noisy": found.noisy, "error": found.error})
    known = {(row["axis"], row["value"]): row["median_ms"] for row in rows}
    for row in rows:
        axis, value = row["axis"], row["value"]
        ideal = {
            "density": lambda d: known["density", 1.0] * d,
            "tokens": lambda count: known["tokens", TOKENS] * count / TOKENS,
            "layers": lambda count: known["layers", LAYERS] * count / LAYERS,
            "threads": lambda count: known["threads", 1] / count,
        }[axis](value)
        yield {**row, "ideal_ms": round(ideal, 4)}


def roofline(folder: Path) -> Iterator[dict[str, Any]]:
    """Measure the limits, and make a row for each linear layer."""
    yield {"axis": "limits", **limits()}
    for k, n, tokens, density in ROOFLINE:
        path, layer = linear(folder, k, n, tokens, density)
        found = l0.measure(l0.load(path), (torch.randn(tokens, k),), PROTOCOL)
        flop, moved = flop_and_bytes(layer, tokens, BLOCK if density < 1 else (1, 1))
        name = f"{k}x{n}, {tokens} tokens, density {density:g}"
        row = {"axis": "roofline", "name": name, "density": density, "median_ms": round(found.median_ms, 5)}
        rates = {"flop_per_byte": flop / moved, "gflop_per_s": flop / found.median_ms / 1e6}
        yield row | {key: round(value, 3) for key, value in rates.items()}


def main() -> None:
    """Build, measure, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", help="where to keep compiled models")
    parser.add_argument("--build", action="store_true", help="build only")
    parser.add_argument("--plot", action="store_true", help="only draw")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        if not options.plot:
            for _, _, at in points():
                encoder(folder, int(at["layers"]), at["density"])
            for shape in ROOFLINE:
                linear(folder, *shape)
        if options.build:
            return
        if not options.plot:
            for row in (*roofline(folder), *scaling(folder)):
                record.append("scaling", row)
    rows = record.last("scaling", "limits")
    (record.RESULTS / "scaling.png").write_bytes(draw_scaling(rows))
    (record.RESULTS / "roofline.png").write_bytes(draw_roofline(rows))


if __name__ == "__main__":
    main()
