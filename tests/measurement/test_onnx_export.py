"""ONNX export."""

import sys
from pathlib import Path

import pytest
import torch

from l0compile.errors import DataError, MissingDependency
from l0compile.measurement import export_onnx
from l0compile.measurement.engines import _by_name
from tests.measurement.tiny_models import scaled_by_name


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


def test_inputs_by_name_and_an_exported_program(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    ort = pytest.importorskip("onnxruntime")
    model, (x,), kwargs = scaled_by_name()
    program = torch.export.export(model.eval(), (x,), kwargs)
    for number, given in enumerate((model, program)):
        path = export_onnx(given, (x,), tmp_path / f"{number}.onnx", kwargs=kwargs)
        session = ort.InferenceSession(str(path))
        names = [value.name for value in session.get_inputs()]
        assert names == ["x", "shift"]
        feeds = _by_name((x,), kwargs, names)
        assert list(feeds) == ["shift", "x"]
        (found,) = session.run(None, {name: value.numpy() for name, value in feeds.items()})
        torch.testing.assert_close(torch.from_numpy(found), model(x, **kwargs).detach())
    with pytest.raises(DataError, match="the ONNX file takes x, shift, the factory gives 1 tensors"):
        _by_name((), kwargs, ["x", "shift"])
