"""Compile a kernel for this machine and call it on torch tensors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from l0compile.hardware._tvm import runtime
from l0compile.hardware.targets import load_target
from l0compile.kernels import emit
from l0compile.kernels.cpu.linear.spec import LinearSchedule
from l0compile.kernels.token_tile import TokenTile, token_tile
from tests.kernels.kept_code import kept_code

Run = Callable[..., torch.Tensor]


@pytest.fixture(scope="session")
def tile() -> TokenTile:
    return token_tile(load_target("native"))


@pytest.fixture(scope="session")
def launch(tile: TokenTile) -> Run:
    """launch(spec, inputs, shape of the result[, schedule, dtype]): tensors and integers in, the result out."""
    built: dict[tuple[Any, LinearSchedule | None], Callable[..., None]] = {}

    def call(
        spec: Any,
        inputs: tuple[object, ...],
        shape: tuple[int, ...],
        schedule: LinearSchedule | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        key = spec, schedule
        if key not in built:
            built[key] = kept_code(emit(spec, tile, schedule))
        result = torch.full(shape, float("nan") if dtype.is_floating_point else -1, dtype=dtype)
        operands = [runtime.from_dlpack(i.contiguous()) if isinstance(i, torch.Tensor) else i for i in inputs]
        built[key](*operands, runtime.from_dlpack(result))
        return result

    return call
