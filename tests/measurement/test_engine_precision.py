"""The engines compared with compute in float32: OpenVINO's own choice, where the CPU has it, is bfloat16."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from l0compile.measurement import Workload, export_onnx
from l0compile.measurement.engines import prepare


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_answers_are_those_of_float32(engine: str, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", engine):
        pytest.importorskip(package)
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 8)).eval(), torch.randn(4, 256)
    path = export_onnx(model, (x,), tmp_path / "m.onnx")
    save_file({"input": x}, tmp_path / "x.safetensors")
    found = prepare(engine, Workload(onnx_path=str(path), inputs_path=str(tmp_path / "x.safetensors")), 1)()
    got = torch.from_numpy(next(iter(found.values())) if hasattr(found, "values") else found[0])
    torch.testing.assert_close(got, model(x), rtol=1e-4, atol=1e-5)
