"""ONNX export."""

import sys
from pathlib import Path

import pytest
import torch

from l0compile.errors import MissingDependency
from l0compile.measure import export_onnx


def test_missing_exporter_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingDependency, match="pip install onnx onnxscript"):
        export_onnx(torch.nn.Linear(2, 2), (torch.ones(1, 2),), tmp_path / "m.onnx")


def test_the_exported_model_gives_the_same_answers(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    ort = pytest.importorskip("onnxruntime")
    model, x = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.9)), torch.randn(5, 4)
    rows = torch.export.Dim("rows", min=1, max=64)
    path = export_onnx(model, (x,), tmp_path / "m.onnx", dynamic_shapes=({0: rows},))
    assert model.training
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model.eval()
    for rows_now in (5, 2):
        (found,) = session.run(None, {session.get_inputs()[0].name: x[:rows_now].numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(x[:rows_now]).detach())
