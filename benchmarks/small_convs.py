"""Claim: models with small images, short signals or loops over experts are never slower than in eager PyTorch.

    python benchmarks/small_convs.py [onet shared_head ...] [--blocks 12] [--engines tvm torch auto]

Models of tests/zoo with small feature maps and batches above one, all weights dense: eager PyTorch against each engine
of ``l0.compile``. Every engine runs in a process of its own, and all take turns, block by block. ``speedup`` is the
time of eager PyTorch over ours, with its interval. Appends to ``benchmarks/results/small_convs.jsonl``.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import record

sys.path.insert(0, str(Path(__file__).parent.parent))

import l0compile as l0
from l0compile.measurement import Measurement, Protocol, Workload, measure_engines, ratio
from tests.zoo.timed import make

FACTORY = "tests.zoo.timed:make"
NAMES = ("onet", "shared_head", "vocoder", "looped_experts")
ENGINES = ("tvm", "torch", "auto")


def main() -> None:
    """Measure model by model; append one row for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", default=[*NAMES], help="of tests/zoo")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    parser.add_argument("--blocks", type=int, default=12, help="measured blocks an engine (default 12)")
    options = parser.parse_args()
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            chosen, jobs = compiled(name, options.engines, Path(folder))
            measured = measure_engines(jobs, Protocol(blocks=options.blocks))
        record.append("small_convs", {"name": name, "auto": chosen, **row(measured)})


def compiled(
    name: str, engines: list[str], folder: Path
) -> tuple[str | None, dict[str, tuple[str, Workload]]]:
    """Compile for each engine; return what ``auto`` chose, and label -> (engine, workload)."""
    factory = Workload(factory=FACTORY, factory_kwargs={"name": name})
    jobs, chosen = {"eager": ("pytorch", factory)}, None
    for engine in engines:
        model = l0.compile(*make(name), engine=engine)
        model.save(folder / engine)
        jobs[engine] = ("l0compile", Workload(**{**vars(factory), "artifact": str(folder / engine)}))
        choice = model.explain().choice
        chosen = choice.engine if engine == "auto" and choice else chosen
    return chosen, jobs


def row(measured: dict[str, Measurement]) -> dict[str, Any]:
    """Make a row: medians with their intervals, and our speed-ups over eager PyTorch."""
    result: dict[str, Any] = {
        label: m.error or [round(v, 4) for v in (m.median_ms, m.low_ms, m.high_ms)]
        for label, m in measured.items()
    }
    eager = measured["eager"]
    for label, m in measured.items():
        if label != "eager" and m.ok and eager.ok:
            faster = ratio(eager, m, paired=True)
            result[f"{label}: speedup"] = [round(v, 3) for v in (faster.value, faster.low, faster.high)]
    return result


if __name__ == "__main__":
    main()
