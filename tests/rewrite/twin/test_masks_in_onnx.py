"""Exported to ONNX, masks of torch.nn.utils.prune stay apart from weights of 256x256 and more; a twin has none."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import l0compile as l0
from l0compile.measurement.onnx_export import export_onnx

X = torch.randn(2, 256)


@pytest.fixture
def masked() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256)).eval()
    prune.random_unstructured(model[0], "weight", 0.5)
    return model


def zeros_of_weights(model: nn.Module, path: Path) -> list[float]:
    """The share of zeros in each matrix of the file."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(export_onnx(model, (X,), path)).graph
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    return sorted(round(float((array == 0).mean()), 2) for array in arrays if array.ndim == 2)


def test_zeros_reach_the_file(masked: nn.Module, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    small = l0.compact(masked, (X,))
    torch.testing.assert_close(small(X), masked(X))
    assert zeros_of_weights(small, tmp_path / "small.onnx") == [0.0, 0.5]


def test_pytorch_itself_keeps_mask_and_weight_apart(masked: nn.Module, tmp_path: Path) -> None:
    """Fails when that changes; the page on libraries is then to be corrected."""
    pytest.importorskip("onnxscript")
    assert len(zeros_of_weights(masked, tmp_path / "masked.onnx")) == 3
