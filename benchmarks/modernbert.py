"""Claim: windows of a real model become time. ModernBERT-base with random weights, float32, one long text.

    python benchmarks/modernbert.py FOLDER --build                        # ONNX files and the compiled model
    python benchmarks/modernbert.py FOLDER --engines l0compile openvino   # time some engines, each in its own process
    python benchmarks/modernbert.py FOLDER --report                       # a row of what was timed in FOLDER

``--tokens`` is 4096 or 8192. A call takes seconds: after ``--warm`` calls that are not counted each engine gets
``--calls`` of them, one engine after the other, and all engines ``--rounds`` times. ``--report`` appends medians, and
the time of the best other engine over ours, to ``benchmarks/results/modernbert.jsonl``. Wanted: 2 with 4,096 tokens, 3
with 8,192.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from harness import record

ENGINES = ("l0compile", "torch.compile", "onnxruntime", "openvino")
THREADS = 2


def build(folder: Path, tokens: int) -> None:
    """Write what engines load, as far as it is missing."""
    from harness.modernbert import DYNAMIC, make

    import l0compile as l0
    from l0compile.measurement import export_onnx

    model, inputs = make(tokens)
    if not (folder / "compiled").exists():
        compiled = l0.compile(model, inputs, dynamic_shapes=DYNAMIC, engine="tvm", verify=False)
        compiled.save(folder / "compiled")
    if not _onnx(folder, tokens).exists():
        export_onnx(model, inputs, _onnx(folder, tokens))


def _onnx(folder: Path, tokens: int) -> Path:
    return folder / f"modernbert_{tokens}.onnx"


def worker(engine: str, folder: Path, tokens: int, warm: int, calls: int) -> None:
    """Print the milliseconds of single calls, after ``warm`` that are not counted."""
    from l0compile.measurement import Protocol, Workload
    from l0compile.measurement.engines import prepare
    from l0compile.measurement.local import quiet

    workload = Workload(
        factory="harness.modernbert:make", factory_kwargs={"tokens": tokens},
        onnx_path=str(_onnx(folder, tokens)), artifact=str(folder / "compiled"),
    )  # fmt: skip
    samples = []
    with quiet(Protocol(threads=THREADS)):
        call = prepare(engine, workload, THREADS)
        for _ in range(warm + calls):
            begin = time.perf_counter()
            call()
            samples.append((time.perf_counter() - begin) * 1e3)
    print(json.dumps(samples[warm:]))


def measure(engine: str, given: argparse.Namespace) -> None:
    """Time one engine in a process of its own, and keep the samples in the folder."""
    command = [sys.executable, __file__, str(given.folder), "--worker", engine]
    command += ["--tokens", str(given.tokens), "--warm", str(given.warm), "--calls", str(given.calls)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    samples = json.loads(done.stdout.splitlines()[-1])
    print(engine, samples, flush=True)
    with (given.folder / "samples.jsonl").open("a") as file:
        file.write(
            json.dumps({"engine": engine, "tokens": given.tokens, "warm": given.warm, "ms": samples}) + "\n"
        )


def report(folder: Path, tokens: int) -> dict[str, Any]:
    """Make a row of all samples of one length."""
    found = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    samples: dict[str, list[float]] = {}
    first = set()
    for each in found:
        if each["tokens"] == tokens:
            samples.setdefault(each["engine"], []).extend(each["ms"])
            first |= set() if each.get("warm", 1) else {each["engine"]}
    middle = {name: round(median(times), 1) for name, times in samples.items()}
    best = min((name for name in middle if name != "l0compile"), key=lambda name: middle[name])
    return {
        "model": "ModernBERT-base", "tokens": tokens, "median_ms": middle,
        "range_ms": {name: [round(min(t), 1), round(max(t), 1)] for name, t in samples.items()},
        "calls": {name: len(times) for name, times in samples.items()}, "first_call_counted": sorted(first),
        "best": best, "speedup": round(middle[best] / middle["l0compile"], 3),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--build", action="store_true")
    parser.add_argument("--engines", nargs="*", choices=ENGINES, default=())
    parser.add_argument("--warm", type=int, default=1)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--worker", choices=ENGINES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.worker:
        worker(given.worker, given.folder, given.tokens, given.warm, given.calls)
        return
    if given.build:
        build(given.folder, given.tokens)
    for _ in range(given.rounds):
        for engine in given.engines:
            measure(engine, given)
    if given.report:
        record.append("modernbert", report(given.folder, given.tokens))


if __name__ == "__main__":
    main()
