"""Jobs for DeepSparse, which needs an environment of its own, with an old ONNX and NumPy."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from l0compile.measurement import Workload

OPSET = 14
"""The oldest with attention as one call."""


def job(
    python: str, model: nn.Module, names: tuple[str, ...], inputs: tuple[Tensor, ...], path: Path
) -> tuple[str, Workload]:
    """Export ``model`` with its zeros to ``path``.onnx and its inputs to ``path``.npz; return (engine, workload)."""
    onnx = path.with_suffix(".onnx")
    if not onnx.exists():
        export(model, names, inputs, onnx)
    arrays = path.with_suffix(".npz")
    np.savez(arrays, **{name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})
    command = (python, "-I", str(Path(__file__).with_name("deepsparse_worker.py")))
    return "deepsparse", Workload(onnx_path=str(onnx), inputs_path=str(arrays), command=command)


def export(model: nn.Module, names: tuple[str, ...], inputs: tuple[Tensor, ...], path: Path) -> None:
    """Export with PyTorch's older exporter, because DeepSparse cannot read the operator sets of the newer one."""
    with torch.no_grad():
        torch.onnx.export(
            model.eval(), inputs, str(path), dynamo=False, opset_version=OPSET, input_names=list(names)
        )


def saved(path: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Read the inputs in ``path``, by position, in the process that measures our model."""
    with np.load(path, allow_pickle=False) as arrays:
        return nn.Identity(), tuple(torch.from_numpy(arrays[name]).clone() for name in arrays.files)
