"""Claim: with the same zeros, twice as fast as DeepSparse 1.8 (geometric mean of linear layers; MiniLM), never slower.

    python benchmarks/deepsparse.py --deepsparse PYTHON [--only "768x3072 128"] [--folder KEEP] [--build]

``PYTHON`` is an interpreter that can import deepsparse 1.8, which l0compile does not depend on, and whose licence
allows evaluation only. Cases: linear layers k x n with zeros in 4x1 blocks (or 1x1, without structure), and MiniLM at
128 tokens. The engines take turns, each in a process of its own, so ratios are paired; float32, one request at a time.
``--only`` chooses cases by a part of their name, ``--folder`` keeps what is built, and ``--build`` only builds. Appends
to ``benchmarks/results/deepsparse.jsonl``.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from harness import deepsparse, minilm, record
from harness.pruning import prune_model
from torch import Tensor, nn

import l0compile as l0
from l0compile.measurement import Measurement, Protocol, Workload, measure_engines, ratio

LAYERS = ((384, 384), (384, 1536), (1536, 384), (768, 768), (768, 3072), (3072, 768))
TOKENS = (16, 128, 512)
DENSITIES = (0.5, 0.2, 0.1, 0.05)
OURS, THEIRS = "l0compile", "DeepSparse"


@dataclass(frozen=True)
class Case:
    """A linear layer (k, n), or MiniLM if ``layer`` is None, pruned in blocks of rows x columns."""

    layer: tuple[int, int] | None
    tokens: int
    block: tuple[int, int]
    density: float

    @property
    def name(self) -> str:
        what = f"{self.layer[0]}x{self.layer[1]}" if self.layer else "MiniLM"
        return f"{what} {self.tokens} {self.block[0]}x{self.block[1]} {self.density:g}"

    def make(self) -> tuple[nn.Module, tuple[str, ...], tuple[Tensor, ...]]:
        """Make the pruned model, the names of its inputs, and its inputs."""
        if self.layer is None:
            model = minilm.encoder(self.block, self.density)
            return model, ("input_ids", "attention_mask"), minilm.inputs(1, self.tokens)
        torch.manual_seed(0)
        layer = prune_model(nn.Linear(*self.layer), self.block, self.density).eval().requires_grad_(False)
        return layer, ("input",), (torch.randn(1, self.tokens, self.layer[0]),)


def cases() -> Iterator[Case]:
    """List all cases."""
    for density in (0.2, 0.1):
        yield Case(None, 128, (4, 1), density)
    for layer in LAYERS:
        for tokens in TOKENS:
            for density in DENSITIES:
                yield Case(layer, tokens, (4, 1), density)
            yield Case(layer, tokens, (1, 1), 0.1)


def main() -> None:
    """Build and measure the chosen cases, and append a row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deepsparse", metavar="PYTHON", help="interpreter that has DeepSparse 1.8")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of names of cases")
    parser.add_argument("--rounds", type=int, default=20, help="measured blocks per engine (default 20)")
    parser.add_argument(
        "--block-s", type=float, default=0.1, help="length of a block in seconds (default 0.1)"
    )
    parser.add_argument("--folder", help="where to keep compiled and exported models")
    parser.add_argument("--build", action="store_true", help="build only")
    options = parser.parse_args()
    if options.deepsparse is None:
        print(
            "skipped: give --deepsparse, an interpreter with DeepSparse 1.8, which is no dependency of ours"
        )
        return
    protocol = Protocol(warmup_s=0.2, blocks=options.rounds, block_s=options.block_s)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases():
            if any(part in case.name for part in options.only):
                jobs = both(case, folder, options.deepsparse)
                if not options.build:
                    record.append("deepsparse", row(case, measure_engines(jobs, protocol)))


def both(case: Case, folder: Path, python: str) -> dict[str, tuple[str, Workload]]:
    """Return the case for each engine, and build what the folder lacks."""
    model, names, inputs = case.make()
    path = folder / case.name.replace(" ", "_").replace(".", "")
    theirs = deepsparse.job(python, model, names, inputs, path)
    if not path.exists():
        l0.compile(model, inputs, engine="tvm").save(path)
    ours = Workload("harness.deepsparse:saved", {"path": str(theirs[1].inputs_path)}, artifact=str(path))
    return {THEIRS: theirs, OURS: ("l0compile", ours)}


def row(case: Case, measured: dict[str, Measurement]) -> dict[str, object]:
    """Make a row: times in ms, and their time over ours as [ratio, low, high]."""
    result: dict[str, object] = {"name": case.name}
    for name, found in measured.items():
        result[name] = found.error or [round(v, 4) for v in (found.median_ms, found.low_ms, found.high_ms)]
    if all(found.ok for found in measured.values()):
        speedup = ratio(measured[THEIRS], measured[OURS], paired=True)
        result["speedup"] = [round(v, 3) for v in (speedup.value, speedup.low, speedup.high)]
    return result


if __name__ == "__main__":
    main()
