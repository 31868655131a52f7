"""Claim: compiling takes seconds. MiniLM and BERT-base in a fresh process, from the import to the check.

    python benchmarks/compile_time.py [--runs 3] [--cases MiniLM ...]

``cold``: with an empty cache of machine code; ``warm``: another process with the cache that the first one filled, as
for a model of the same layers and sizes; ``other zeros``: kernels are there, but not this model; ``next``: other zeros
of the same blocks in a process that has compiled one such model, as in a search. The clock starts after the model is
loaded and (but for ``next``) before l0compile's compiler and TVM are imported. Wanted: cold 5 s (MiniLM) and 8 s
(BERT-base), warm 2.5 s and 4 s, on two cores of a Zen 4.

Appends to ``benchmarks/results/compile_time.jsonl``.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import record

MINILM = "from harness import minilm; made = (minilm.encoder({}), minilm.inputs(2, 24), minilm.DYNAMIC)"
ZOO = "import torch; from tests.zoo.channels import NETS; torch.manual_seed(0); made = (*NETS['{}'](), None)"
LLAMA = "from harness import full_size; made = full_size.llama({})"
# name -> (statements that make (model, inputs, dynamic shapes), the same with other zeros)
CASES = {
    "MiniLM, dense": (MINILM.format(""), MINILM.format("(4, 1), 0.2")),
    "MiniLM, 4x1 blocks at density 0.2": (MINILM.format("(4, 1), 0.2"), MINILM.format("(4, 1), 0.3")),
    "BERT-base, random weights": ("from harness import full_size; made = full_size.bert_base()", None),
    "Llama, 6 layers of width 2048": (LLAMA.format(6), None),
    "Llama, 22 layers of width 2048": (LLAMA.format(22), None),
    "CBAM": (ZOO.format("cbam"), None),
    "YOLO": (ZOO.format("yolo"), None),
    "detection head (SSD)": (ZOO.format("ssd"), None),
}
CHILD = """
import sys, time; sys.path[:0] = [{folder!r}, {folder!r} + "/.."]
{make}
made[0].eval()
start = time.perf_counter()
import l0compile as l0
l0.compile(made[0], made[1], dynamic_shapes=made[2])
print(time.perf_counter() - start)
"""

NEXT = """
import sys, time; sys.path.insert(0, {folder!r})
from harness import minilm
import l0compile as l0
models = [minilm.encoder((4, 1), density) for density in (0.2, 0.3)]
for model in models:
    start = time.perf_counter()
    l0.compile(model, minilm.inputs(1, 128), engine="tvm")
print(time.perf_counter() - start)
"""


BYTECODE = Path(tempfile.gettempdir()) / "l0compile-bytecode"


def main() -> None:
    """Time each case in fresh processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="number of fresh processes per case (default 3)")
    parser.add_argument("--cases", nargs="*", choices=CASES, default=tuple(CASES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        timed(CASES["CBAM"][0], cache)  # writes the bytecode
    for name in options.cases:
        make, other = CASES[name]
        seconds: dict[str, list[float]] = {"cold": [], "warm": [], "other zeros": []}
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory() as cache:
                seconds["cold"].append(timed(make, cache))
                seconds["warm"].append(timed(make, cache))
                if other:
                    seconds["other zeros"].append(timed(other, cache))
        row: dict[str, object] = {"name": name}
        for kind, found in seconds.items():
            if found:
                row |= {
                    f"{kind} s": round(statistics.median(found), 2),
                    f"{kind}, all": [round(s, 2) for s in found],
                }
        record.append("compile_time", row)
    found = []
    for _ in range(options.runs):
        with tempfile.TemporaryDirectory() as cache:
            found.append(timed("", cache, NEXT))
    row = {"name": "MiniLM, next", "next s": round(statistics.median(found), 2)}
    record.append("compile_time", row | {"next, all": [round(s, 2) for s in found]})


def timed(make: str, cache: str, child: str = CHILD) -> float:
    """Return the seconds that compiling takes in a process of its own."""
    code = child.format(folder=str(Path(__file__).parent), make=make)
    environment = os.environ | {"L0COMPILE_CACHE": cache, "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
