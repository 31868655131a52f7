"""Everything that is claimed of GPUs, measured on one: `make gpu`, under ten minutes on one card.

    python benchmarks/gpu.py [--minutes 9] [--parts correctness layers attention models]
    python benchmarks/gpu.py --dry-run [--target cuda-sm90] [--plan small] [--out FOLDER]
    python benchmarks/gpu.py --rpc rpc://HOST:PORT/KEY?target=cuda-sm90

Correctness against PyTorch in float64; block-sparse and dense layers beside cuBLAS, PyTorch's Triton kernel for
blocks and torch.compile; attention beside scaled_dot_product_attention and FlexAttention; whole models beside both.
Calls are replayed as CUDA graphs between events, with the second cache written over between two of them; clocks are
logged with each row, beside what the analytic model had predicted. Over RPC only our layers run. Appends to
``benchmarks/results/gpu.jsonl``, prints a table and draws ``gpu.png`` beside it. Ends with one line where there is no
GPU, driver, compiler or PyTorch for CUDA. A dry run does all of it without a GPU except launching: its rows say "not
measured", and it writes to a folder of its own.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from harness import gpu_remote, record
from harness.gpu_kernels import AttentionEngines, LayerEngines
from harness.gpu_models import GpuModelCase
from harness.gpu_plan import PLANS, GpuPlan
from harness.gpu_report import picture, table
from harness.gpu_session import GpuSession, Row, dry_session, session_here

import l0compile as l0
from l0compile.errors import L0CompileError
from l0compile.hardware.costs import GpuModel, KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.measurement.cuda import measured_row
from l0compile.measurement.device import device_and_target

CLAIM = "gpu"


def main() -> None:
    """Measure what there is time for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--plan", choices=PLANS, help="default: full, and small in a dry run")
    parser.add_argument("--dry-run", action="store_true", help="everything but launches, without a GPU")
    parser.add_argument("--target", default="cuda-sm90", help="of a dry run")
    parser.add_argument("--out", type=Path, help="folder of a dry run's rows and picture; default: a new one")
    parser.add_argument("--rpc", metavar="URL")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    if options.rpc:
        url, target = device_and_target(options.rpc)
        written(remote(str(url), target, PLANS["full"](target)), end, {"device": url}, record.RESULTS)
        return
    session = dry_session(options.target) if options.dry_run else session_here()
    plan = PLANS[options.plan or ("small" if options.dry_run else "full")](session.target)
    estimate = PLANS["full"](session.target).seconds(GpuModel(session.target))
    print(f"estimated for all parts: {json.dumps({name: round(s) for name, s in estimate.items()})} seconds")
    rows = (row for part in options.parts for row in _of_part(part, plan, session))
    out = (
        record.RESULTS if session.measures else options.out or Path(tempfile.mkdtemp(prefix="l0compile-gpu-"))
    )
    written(rows, end, session.facts(), out)


def _of_part(part: str, plan: GpuPlan, session: GpuSession) -> Iterator[Row]:
    for row in PARTS[part](plan, session):
        yield {"part": part, **row}


def written(rows: Iterator[Row], end: float, more: Row, folder: Path) -> None:
    """Append rows to ``gpu.jsonl`` of a folder until ``end``, and show them."""
    record.RESULTS = folder
    found = []
    for row in rows:
        found.append(row)
        record.append(CLAIM, {**row, **more})
        if time.monotonic() > end:
            print("the time is over; give more --minutes, or fewer --parts", file=sys.stderr)
            break
    (folder / f"{CLAIM}.png").write_bytes(picture(found))
    print(f"\n{table(found)}\n\n{len(found)} rows in {folder / CLAIM}.jsonl")


def correctness(plan: GpuPlan, session: GpuSession) -> Iterator[Row]:
    """Our kernels against PyTorch in float64, on the GPU."""
    for case in (*plan.layers, *plan.dense):
        layer = LayerEngines(case, session, plan.dtype)
        yield {**dataclasses.asdict(case), **session.error_of(layer.ours, layer.wanted)}
    for each in plan.attention:
        heads = AttentionEngines(each, session)
        yield {**dataclasses.asdict(each), **session.error_of(heads.ours, heads.wanted)}


def layers(plan: GpuPlan, session: GpuSession) -> Iterator[Row]:
    """Linear layers in all engines."""
    for case in (*plan.dense, *plan.layers):
        yield from _engines(LayerEngines(case, session, plan.dtype), case, session)


def attention(plan: GpuPlan, session: GpuSession) -> Iterator[Row]:
    """Attention in all engines."""
    for case in plan.attention:
        yield from _engines(AttentionEngines(case, session), case, session)


def _engines(found: LayerEngines | AttentionEngines, case: Any, session: GpuSession) -> Iterator[Row]:
    """A row for each engine; ours with what was predicted."""
    work: KernelWorkload = case.work
    predicted = GpuModel(session.target).predict(work)
    for engine, make in found.engines():
        row = {**dataclasses.asdict(case), "engine": engine, **session.timed(make)}
        if engine == "ours" and predicted is not None:
            row["predicted_ms"] = [predicted.low, predicted.mid, predicted.high]
        yield row


def models(plan: GpuPlan, session: GpuSession) -> Iterator[Row]:
    """Whole models in half precision, dense and with zeros, compiled for the card, beside PyTorch and torch.compile."""
    for case in plan.models:
        for zeros in (False, True):
            for row in _of_model(case, getattr(torch, plan.dtype), zeros, session):
                yield {"model": case.name, "zeros": "90 % of the 64x64 blocks" if zeros else "none", **row}


def _of_model(case: GpuModelCase, dtype: torch.dtype, zeros: bool, session: GpuSession) -> Iterator[Row]:
    """A row for each engine."""
    model, inputs = case.build(dtype, zeros), case.inputs(dtype)
    given = {name: value.to(session.place) for name, value in inputs.items()}
    ours = _compiled(case, model, inputs, given, session.target)
    own = partial(model.to(session.place), **given)
    with torch.no_grad():
        gap = session.error_of(ours, lambda: _first(own()))
        yield {"engine": "ours", **gap, **session.timed(ours)}
        yield {"engine": "PyTorch", **session.timed(lambda: own)}
        if not zeros:  # they change nothing for PyTorch
            yield {"engine": "torch.compile", **session.timed(lambda: partial(torch.compile(model), **given))}


def _compiled(
    case: GpuModelCase, model: torch.nn.Module, inputs: Row, given: Row, target: Target
) -> Callable[[], Callable[[], torch.Tensor]]:
    """Builds a call of the compiled model, once; it gives the first result."""
    model = l0.compile(model, (), inputs, target=target, dynamic_shapes=case.dynamic_shapes, verify=False)
    return lambda: lambda: _first(model(**given))


def _first(results: Any) -> torch.Tensor:
    """Of the tensors in a model's results the first, with all axes but the last as rows."""
    leaves = [leaf for leaf in torch.utils._pytree.tree_leaves(results) if isinstance(leaf, torch.Tensor)]
    return leaves[0].flatten(0, -2)


def remote(url: str, target: Target, plan: GpuPlan) -> Iterator[Row]:
    """Our layers on a device behind a tracker."""
    cases = [dataclasses.replace(case, dtype="float16") for case in plan.layers if case.dtype == plan.dtype]
    for case, found, error in gpu_remote.remote_layers(url, target, cases):
        row = {"part": "layers", "engine": "ours", **dataclasses.asdict(case), "largest error": error}
        yield measured_row(row, found)


PARTS = {"correctness": correctness, "layers": layers, "attention": attention, "models": models}

if __name__ == "__main__":
    try:
        main()
    except L0CompileError as error:
        sys.exit(f"gpu.py: {type(error).__name__}: {error}")
