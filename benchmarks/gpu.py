"""Everything that is claimed of GPUs, measured on one: `make gpu`, under ten minutes on one card.

    python benchmarks/gpu.py [--minutes 9] [--parts correctness layers attention models]
    python benchmarks/gpu.py --rpc rpc://HOST:PORT/KEY?target=cuda-sm90

Correctness against PyTorch in float64; block-sparse and dense layers beside cuBLAS, PyTorch's Triton kernel for
blocks and torch.compile; attention beside scaled_dot_product_attention and FlexAttention; whole models beside both.
Calls are replayed as CUDA graphs between events, with the second cache written over between two of them; clocks are
logged with each row, beside what the analytic model had predicted. Over RPC only our layers run. Appends to
``benchmarks/results/gpu.jsonl``. Ends with one line where there is no GPU, driver, compiler or PyTorch for CUDA.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import l0compile as l0
from l0compile.errors import L0CompileError
from l0compile.hardware.costs import GpuModel, KernelWorkload
from l0compile.hardware.targets import Target
from l0compile.measurement import Measurement, Protocol
from l0compile.measurement.cuda import GpuHere, measured_row, read_clocks, require_gpu, throttled, time_calls
from l0compile.measurement.device import device_and_target

PARTS = ("correctness", "layers", "attention", "models")
Row = dict[str, Any]


def main() -> None:
    """Measure what there is time for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--rpc", metavar="URL")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    if options.rpc:
        url, target = device_and_target(options.rpc)
        append_all(remote(str(url), target), end, {"device": url})
        return
    here = require_gpu()
    # TVM asks nvcc for machine code; that of the wheel is on no PATH.
    os.environ["TVM_CUDA_COMPILE_MODE"] = "nvcc"
    os.environ["PATH"] = f"{here.tools.nvcc.parent}{os.pathsep}{os.environ['PATH']}"
    card = {"card": dataclasses.asdict(here.card), "nvcc": here.tools.version}
    for part in options.parts:
        append_all(_PARTS[part](here), end, {"part": part, **card})


def append_all(rows: Iterator[Row], end: float, more: Row) -> None:
    """Append rows until ``end``."""
    from harness import record

    for row in rows:
        record.append("gpu", {**row, **more})
        if time.monotonic() > end:
            print("the time is over; give more --minutes, or fewer --parts", file=sys.stderr)
            return


def correctness(here: GpuHere) -> Iterator[Row]:
    """Our kernels against PyTorch's products in float64, on the GPU."""
    import torch
    from harness import gpu_kernels

    for case in gpu_kernels.layer_cases():
        calls = dict(gpu_kernels.layer_calls(case, here.target))
        torch.manual_seed(0)
        found, wanted = calls["ours"]().double(), calls["F.linear (cuBLAS), dense"]().double()
        yield {
            **dataclasses.asdict(case),
            "largest error": float((found - wanted).abs().max() / wanted.abs().max()),
        }


def layers(here: GpuHere) -> Iterator[Row]:
    """Linear layers in all engines."""
    from harness import gpu_kernels

    for case in gpu_kernels.layer_cases():
        row = dataclasses.asdict(case)
        shape = KernelWorkload(
            "linear", (case.n, case.k), (case.block, case.block), case.density, case.tokens, dtype=case.dtype
        )
        yield from timed(gpu_kernels.layer_calls(case, here.target), here, row, shape)


def attention(here: GpuHere) -> Iterator[Row]:
    """Attention in all engines."""
    from harness import gpu_kernels

    for heads, width, tokens in ((12, 64, 512), (12, 64, 4096), (32, 128, 8192)):
        work = KernelWorkload(
            "attention", (heads, heads, width, width, tokens, tokens), tokens=tokens, dtype="bfloat16"
        )
        calls = gpu_kernels.attention_calls(heads, width, tokens, here.target)
        yield from timed(calls, here, {"heads": heads, "width": width, "tokens": tokens}, work)


def models(here: GpuHere) -> Iterator[Row]:
    """Whole models, compiled for the card, beside PyTorch and torch.compile."""
    import torch
    from harness import networks

    for name in ("MiniLM 128", "BERT-base 128", "ViT-B/16"):
        model, inputs = networks.make(name, 64, 64, 0.2)
        yield {"model": name, "engine": "ours", **tried(partial(_own_model, model, inputs, here), here)}
        model, inputs = model.to("cuda"), tuple(tensor.to("cuda") for tensor in inputs)
        for engine, run in (("PyTorch", model), ("torch.compile", torch.compile(model))):
            with torch.no_grad():
                yield {"model": name, "engine": engine, **tried(partial(partial, run, *inputs), here)}


def _own_model(model: Any, inputs: Any, here: GpuHere) -> Callable[[], object]:
    compiled = l0.compile(model, inputs, target=here.target, verify=False, engine="tvm")
    return partial(compiled, *(tensor.to("cuda") for tensor in inputs))


def timed(
    calls: Iterator[tuple[str, Callable[[], Any]]], here: GpuHere, row: Row, work: KernelWorkload
) -> Iterator[Row]:
    """A row for each engine; ours with what was predicted."""
    predicted = GpuModel(here.target).predict(work)
    for engine, call in calls:
        found = {**row, "engine": engine, **tried(partial(_itself, call), here)}
        if engine == "ours" and predicted is not None:
            found["predicted_ms"] = [predicted.low, predicted.mid, predicted.high]
        yield found


def _itself(call: Callable[[], Any]) -> Callable[[], Any]:
    return call


def tried(make: Callable[[], Callable[[], Any]], here: GpuHere) -> Row:
    """The time of what ``make`` returns with the clocks around it, or the error: other engines may lack memory, too."""
    import torch

    before = read_clocks()
    try:
        found = time_calls(make(), here.target.l2_bytes)
    except (L0CompileError, RuntimeError, NotImplementedError) as error:
        torch.cuda.empty_cache()
        found = Measurement.failed(f"{type(error).__name__}: {str(error)[:300]}", Protocol.quick())
    after = read_clocks()
    clocks = [dataclasses.asdict(each) for each in (before, after)]
    return measured_row({"clocks": clocks, "throttled": throttled((before, after))}, found)


def remote(url: str, target: Target) -> Iterator[Row]:
    """Our layers on a device behind a tracker."""
    from harness import gpu_kernels, gpu_remote

    cases = [case for case in gpu_kernels.layer_cases() if case.dtype == "bfloat16"]
    wanted = [dataclasses.replace(case, dtype="float16") for case in cases]
    for case, found, error in gpu_remote.remote_layers(url, target, wanted):
        row = {"part": "layers", "engine": "ours", **dataclasses.asdict(case), "largest error": error}
        yield measured_row(row, found)


_PARTS = {"correctness": correctness, "layers": layers, "attention": attention, "models": models}

if __name__ == "__main__":
    try:
        main()
    except L0CompileError as error:
        sys.exit(f"gpu.py: {type(error).__name__}: {error}")
