"""Claim: a search on a small model of the user keeps to its time and its budget, and loses little quality.

    python benchmarks/small_search.py [--quick] [--seconds 60] [--floor 0.02] [--out FOLDER]

A classifier of digits (MLP 64-256-256-256-10, batch 32, a tenth of a millisecond) has to take half the time of the
compiled dense one. Its data are made here: ten noisy prototypes of 8x8 pixels, moved by up to a pixel. Prints the
choice and the seconds of each phase, and appends to ``benchmarks/results/small_search.jsonl``.
"""

import argparse
import dataclasses
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from harness import record
from torch import Tensor, nn

from l0compile.report.write import write_report
from l0compile.studies.run import run_search
from l0compile.studies.space.read import parse_space
from l0compile.studies.study.progress import RichProgress
from l0compile.tasks.own import OwnTask

_NOISE = 1.2


def digits(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Make images, float32 [count, 64], and labels, int64 [count]."""
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(10, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 10, (count,), generator=generator)
    moves = torch.randint(-1, 2, (count, 2), generator=generator)
    images = torch.stack(
        [prototypes[y].roll(tuple(m), (0, 1)) for y, m in zip(labels.tolist(), moves.tolist(), strict=True)]
    )
    return (images + _NOISE * torch.randn(images.shape, generator=generator)).flatten(1), labels


def network() -> nn.Module:
    """Make the classifier, untrained."""
    widths = (64, 256, 256, 256)
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def trained() -> nn.Module:
    """Train the classifier for five passes over its data."""
    torch.manual_seed(0)
    model = network().train()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    images, labels = digits(8192, 1)
    for _ in range(5):
        for rows in torch.randperm(len(images)).split(128):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimiser.step()
    return model.eval()


def make() -> OwnTask:
    """Make the task: distillation from the trained classifier, and accuracy on digits that training never saw."""
    model, (images, _) = trained(), digits(8192, 1)
    tests = digits(4096, 2)

    def step(student: nn.Module) -> Tensor:
        x = images[torch.randint(0, len(images), (128,))]
        with torch.no_grad():
            wanted = model(x)
        return nn.functional.mse_loss(student(x), wanted)

    def accuracy(student: nn.Module) -> float:
        return float((student(tests[0]).argmax(1) == tests[1]).float().mean())

    calibration = [(part,) for part in images[:1024].split(128)]
    return OwnTask(model, (images[:32],), step, accuracy, calibration)


def space(seconds: float, floor: float | None, reference: str) -> Any:
    """Make the space: half the time of the dense model, or the fastest model above a quality target."""
    asked = (
        {"latency": {"ratio": 0.5, "reference": reference}} if floor is None else {"quality": {"drop": floor}}
    )
    data = {
        "task": {"name": "small_search.py:make"},
        **asked,
        "search": {"seconds": seconds, "trials": 6},
        "gates": [{"name": "all", "kind": "block", "patterns": ["0", "2", "4"], "shapes": ["4x1", "8x1", "4x4"]}],
    }  # fmt: skip
    return parse_space(data, file=str(Path(__file__)))


def main() -> None:
    """Search, report and append."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument(
        "--floor", type=float, help="share of the quality that may be lost; replaces the budget of time"
    )
    parser.add_argument("--reference", default="l0compile")
    parser.add_argument("--out", type=Path, help="folder to keep; default: a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out, wanted = args.out or Path(scratch), space(args.seconds, args.floor, args.reference)
        begun = time.monotonic()
        with RichProgress(args.seconds) as bar:
            result = run_search(wanted, out, task=make(), quick=args.quick, progress=bar)
        seconds = time.monotonic() - begun
        write_report(result, out)
    kinds = [item.outcome for item in result.candidates]
    row = {
        "seconds": round(seconds, 1), "allowed": args.seconds, "quick": args.quick, "floor": args.floor,
        "asked": [str(item) for item in result.asked],
        "trials": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "rows": [dataclasses.asdict(row) for row in result.rows], "facts": result.facts,
    }  # fmt: skip
    for name in ("asked", "seconds", "trials"):
        print(f"{name}: {row[name]}")
    print(result.facts["seconds of each phase"])
    record.append("small_search", row)


if __name__ == "__main__":
    main()
