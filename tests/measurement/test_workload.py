"""Workloads: what each engine needs, where inputs come from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from l0compile.errors import ConfigError, StorageError
from l0compile.measurement import Workload
from l0compile.measurement.workload import call_factory, load_inputs


@pytest.fixture(autouse=True)
def factories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def test_needs_of_engines() -> None:
    with pytest.raises(ConfigError, match=r"expected one of pytorch, .* got 'tensorrt'"):
        Workload().check("tensorrt")
    with pytest.raises(ConfigError, match="'openvino' needs onnx_path, got None; write one with export_onnx"):
        Workload(factory="a:b").check("openvino")
    with pytest.raises(ConfigError, match="'l0compile' needs artifact"):
        Workload(factory="a:b").check("l0compile")
    with pytest.raises(ConfigError, match="expected inputs from factory or inputs_path"):
        Workload(onnx_path="m.onnx").check("onnxruntime")
    Workload(onnx_path="m.onnx", inputs_path="x.npz").check("onnxruntime")


def test_factory_with_arguments() -> None:
    model, (x, shift), _ = call_factory(Workload(factory="tiny_models:scaled", factory_kwargs={"width": 5}))
    assert model(x, shift).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny_models", "expected 'package.module:function'"),
        ("tiny_models:absent", "has no function 'absent'"),
        ("no_such_module:f", "cannot be loaded: ModuleNotFoundError: No module named"),
        ("tiny_models:not_a_model", r"expected \(model, tuple of tensors\), got int"),
        ("tiny_models:not_inputs", r"expected \(model, tuple, dict\), got \['Scaled', 'Tensor', 'dict'\]"),
    ],
)
def test_wrong_factories(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call_factory(Workload(factory=name))


def test_inputs_by_name() -> None:
    model, args, kwargs = call_factory(Workload(factory="tiny_models:scaled_by_name"))
    assert len(args) == 1 and list(kwargs) == ["shift"] and model(*args, **kwargs).shape == (2, 8)


def test_inputs_from_files(tmp_path: Path) -> None:
    x = torch.arange(6).reshape(2, 3)
    save_file({"x": x}, tmp_path / "in.safetensors")
    np.savez(tmp_path / "in.npz", x=x.numpy())
    for name in ("in.safetensors", "in.npz"):
        found = load_inputs(Workload(inputs_path=str(tmp_path / name)))
        assert found is not None and torch.equal(found["x"], x)
    assert load_inputs(Workload(factory="a:b")) is None


def test_unreadable_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))  # would need pickle
    np.savez(tmp_path / "text.npz", x=np.array(["word"]))
    for name in ("broken.safetensors", "broken.npz", "other.pt"):
        (tmp_path / name).write_bytes(b"PK no")
    for name in ("objects.npz", "text.npz", "broken.safetensors", "broken.npz", "other.pt", "absent.npz"):
        with pytest.raises(StorageError, match=name):
            load_inputs(Workload(inputs_path=str(tmp_path / name)))
