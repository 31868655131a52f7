"""Claim: a compiled model needs its weights and little more: resident memory while compiling, after it, after load.

    python benchmarks/memory.py [--case BERT-base]

Each figure is from a fresh process: the memory it holds with the compiled model (the original is deleted), idle and
after a call at batch 1, less the memory before the model was made, over the bytes of the compiled model's weights.
``peak``: the most that it held while compiling, the original included, over the bytes of the original's weights. A
small model is compiled first, so that the compiler itself does not count; no machine code is kept from before.
Appends to ``benchmarks/results/memory.jsonl``.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from harness import full_size, record

import l0compile as l0

LIMIT = 1.2


def main() -> None:
    """Measure every case in processes of its own, or be such a process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=full_size.CASES, help="the only case to measure")
    parser.add_argument("--child", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        step, folder = args.child
        print(json.dumps(compiled(args.case, folder) if step == "compile" else loaded(args.case, folder)))
        return
    for case in [args.case] if args.case else full_size.CASES:
        with tempfile.TemporaryDirectory() as folder:
            steps = {step: child(case, step, folder) for step in ("compile", "load")}
        record.append("memory", {"name": case, "limit": LIMIT, **steps})


def child(case: str, step: str, folder: str) -> dict[str, Any]:
    """Return the figures that a fresh process prints."""
    command = [sys.executable, __file__, "--case", case, "--child", step, str(Path(folder) / "model")]
    environment = os.environ | {"L0COMPILE_CACHE": "off"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compiled(case: str, folder: str) -> dict[str, Any]:
    """Compile, drop the original, call once, save."""
    l0.compile(torch.nn.Linear(8, 8).eval(), (torch.randn(2, 8),))
    before = resident()
    model, inputs, dynamic = full_size.CASES[case]()
    own = sum(tensor.nbytes for tensor in model.state_dict().values()) / 2**20
    resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    fast = l0.compile(model, inputs, dynamic_shapes=dynamic)
    peak, held = status("VmHWM"), resident()
    del model
    result = figures(fast, inputs, before)
    fast.save(folder)
    ratios = {"peak": (peak - before) / own, "with_original": (held - before) / result["weights_mb"]}
    return {name: round(ratio, 3) for name, ratio in ratios.items()} | result


def loaded(case: str, folder: str) -> dict[str, Any]:
    """Load what the other process saved, and call it once."""
    inputs = full_size.CASES[case]()[1]
    before = resident()
    return figures(l0.load(folder), inputs, before)


def figures(model: l0.CompiledModel, inputs: tuple[torch.Tensor, ...], before: float) -> dict[str, Any]:
    """Return megabytes before and after a call at batch 1 (which needs memory for activations), and of the weights."""
    idle = resident() - before
    model(*(tensor[:1] for tensor in inputs))
    grown, weights = resident() - before, model.weight_bytes / 2**20
    megabytes = {"idle_mb": idle, "called_mb": grown, "weights_mb": weights}
    ratios = {"idle": round(idle / weights, 3), "called": round(grown / weights, 3)}
    return {**{key: round(value, 1) for key, value in megabytes.items()}, **ratios}


def resident() -> float:
    """Return the megabytes that this process holds after giving back free memory."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return status("VmRSS")


def status(name: str) -> float:
    """Return megabytes that the kernel tells of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    main()
