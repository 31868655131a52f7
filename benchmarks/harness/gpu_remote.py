"""Kernels on a GPU behind a tracker of TVM's RPC, timed there by TVM's own clock, without PyTorch."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.gpu_kernels import spec_of, thinned
from harness.gpu_plan import LayerCase
from l0compile.hardware._tvm import runtime, tvm, tvm_target
from l0compile.hardware.targets import Target
from l0compile.ir.ops.bsr import heaviest_first, to_blocks
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.measurement import Measurement, Protocol
from l0compile.measurement.device import Device

BLOCKS, CALLS = 9, 15


def remote_layers(
    url: str, target: Target, cases: list[LayerCase]
) -> Iterator[tuple[LayerCase, Measurement, float]]:
    """Time our kernel for each case; yields the case, its time, and its largest error relative to float64.

    Raises:
        DeviceError: the tracker does not answer, or has no such device.
    """
    session = Device.parse(url).session()
    card = session.cuda(0)
    for number, case in enumerate(cases):
        weight = thinned(case).to(torch.float16)
        x = torch.randn(case.tokens, case.k, generator=torch.Generator().manual_seed(1)).to(torch.float16)
        blocks = to_blocks(weight, case.block, case.block)
        arrays = [
            x,
            *blocks,
            heaviest_first(blocks[2]),
            torch.zeros(case.tokens, case.n, dtype=torch.float16),
        ]
        given = [runtime.tensor(array.numpy(), card) for array in arrays]
        kernel, timer = _sent(session, case, target, number)
        kernel(*given)
        error = _error(given[-1].numpy(), x, weight)
        times = timer(*given).results
        blocks_ms = [[1e3 * second for second in times[i::BLOCKS]] for i in range(BLOCKS)]
        yield case, Measurement.from_blocks(blocks_ms, Protocol(blocks=BLOCKS, min_calls=CALLS)), error


def _sent(session: Any, case: LayerCase, target: Target, number: int) -> tuple[Any, Any]:
    library = tvm.compile(cuda_linear(spec_of(case), target), target=tvm_target(target))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"layer{number}.tar"
        library.export_library(str(file))
        session.upload(str(file))
    loaded = session.load_module(file.name)
    timer = loaded.time_evaluator("cuda_linear", session.cuda(0), number=1, repeat=BLOCKS * CALLS)
    return loaded["cuda_linear"], timer


def _error(found: Any, x: torch.Tensor, weight: torch.Tensor) -> float:
    wanted = (x.double() @ weight.double().T).numpy()
    return float(np.abs(found.astype(np.float64) - wanted).max() / np.abs(wanted).max())
