"""Models of 8-bit integers for GPUs: no island, and by emulation the integers of the quantised model in PyTorch.

A level that differs anywhere changes results by a thousandth or more; the last bits of activations and norms by a
millionth.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.kernels.cuda.toolchain import has_nvcc
from tests.lower.cuda.conftest import for_gpu, gap
from tests.lower.cuda.test_whole_models import ZOO

LAST_BITS = 2e-6


class Block(nn.Module):
    """The feed-forward part of a transformer, with odd sizes; ``zeros``: most 16x16 blocks are zero."""

    def __init__(self, width: int = 44, hidden: int = 36, zeros: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.up, self.down = (
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
        )
        for layer in (self.up, self.down) if zeros else ():
            rows, cols = (-(-size // 16) for size in layer.weight.shape)
            kept = torch.eye(rows, cols, dtype=torch.bool) | torch.eye(cols, rows, dtype=torch.bool).T
            mask = kept.repeat_interleave(16, 0).repeat_interleave(16, 1)
            layer.weight.data *= mask[: layer.weight.shape[0], : layer.weight.shape[1]]

    def forward(self, x: Tensor) -> Any:
        return x + self.down(F.relu(self.up(self.norm(x))))


def kernels(compiled: l0.CompiledModel) -> list[str]:
    return [launch.function.rstrip("_0123456789") for launch in compiled.explain().launches]


@pytest.mark.usefixtures("no_nvcc")
def test_a_model_of_integers_rounds_what_the_next_layer_reads() -> None:
    x = torch.randn(3, 7, 44)
    narrow = l0.quantize(Block().eval(), [x])
    compiled = for_gpu(narrow, (x,))
    assert not compiled.explain().islands
    assert kernels(compiled) == ["norm", "cuda_quantize", "cuda_int8_linear", "cuda_int8_linear"]
    with torch.no_grad():
        assert gap(compiled.emulated()(x), narrow(x)) < LAST_BITS


@pytest.mark.slow
@pytest.mark.usefixtures("no_nvcc")
def test_blocks_of_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "l0compile.compiler.compile.costs_of", lambda target: None
    )  # by the table: blocks at once
    x = torch.randn(40, 256)
    narrow = l0.quantize(Block(256, 512, zeros=True).eval(), [x])
    compiled = for_gpu(narrow, (x,))
    assert {(region.format, region.precision) for region in compiled.explain().regions} == {("bsr", "int8")}
    with torch.no_grad():
        assert gap(compiled.emulated()(x), narrow(x)) < LAST_BITS


@pytest.mark.slow
@pytest.mark.usefixtures("no_nvcc")
def test_convolutions_of_integers_are_written_out_or_cut_into_patches() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 2, stride=2), nn.ReLU(),
        nn.Conv2d(12, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(32, 10),
    ).eval()  # fmt: skip
    x = torch.randn(2, 3, 8, 8)
    narrow = l0.quantize(net, [x])
    assert {layer.precision for layer in narrow.quantization} == {"int8"}
    compiled = for_gpu(narrow, (x,))
    assert not compiled.explain().islands and kernels(compiled).count("cuda_int8_linear") == 2
    with torch.no_grad():
        assert gap(compiled.emulated()(x), narrow(x)) < LAST_BITS


@pytest.mark.slow
@pytest.mark.usefixtures("no_nvcc")
@pytest.mark.parametrize("target", ["cuda-sm80", "cuda-sm75"])
@pytest.mark.parametrize("name", ["bert", "vit", "distilbert"])
def test_a_small_model_gives_the_integers_of_pytorch(name: str, target: str) -> None:
    model = ZOO[name]
    call = model.inputs()
    narrow = l0.quantize(model.build(), [call], forward=lambda module, call: module(*call[0], **call[1]))
    shapes = model.dynamic_shapes
    compiled = l0.compile(narrow, *call, target=target, dynamic_shapes=shapes)
    assert not compiled.explain().islands and "cuda_linear" not in kernels(compiled)
    emulated = compiled.emulated()
    for sizes in (model.sizes, model.other):
        args, kwargs = model.inputs(sizes)
        with torch.no_grad():
            assert gap(emulated(*args, **kwargs), narrow(*args, **kwargs)) < LAST_BITS


@pytest.mark.slow
@pytest.mark.skipif(not has_nvcc(), reason="nvcc is not installed")
@pytest.mark.parametrize("target", [name for name in l0.list_targets() if name.startswith("cuda")])
def test_a_model_of_integers_links_for_every_architecture(target: str) -> None:
    x = torch.randn(3, 7, 44)
    assert not for_gpu(l0.quantize(Block().eval(), [x]), (x,), target).explain().islands
