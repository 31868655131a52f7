"""Operators that are not PyTorch's: islands like any other, and named where a process does not have them."""

import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.errors import ArtifactError, CaptureError
from l0compile.runtime.torch_calls import resolve

HOME = """
import torch

@torch.library.custom_op("foreigntest::wave", mutates_args=())
def wave(x: torch.Tensor, others: list[torch.Tensor], scale: float, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    assert x.is_contiguous() and name == "wave"
    return torch.sin(x) * scale + others[0], x.sum(-1)

@wave.register_fake
def _(x, others, scale, name):
    return torch.empty_like(x), x.new_empty(x.shape[:-1])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a module that registers an operator, imported here as well."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "home_of_wave.py").write_text(HOME)
    sys.path.insert(0, str(folder))
    __import__("home_of_wave")
    sys.path.remove(str(folder))
    return folder


class Wave(nn.Module):
    """The operator between two layers, with dead channels on both sides of it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 4)
        with torch.no_grad():
            self.up.weight[:3] = 0
            self.up.bias[:3] = 0
            self.down.weight[:, 5:] = 0

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.up(x))
        y, total = torch.ops.foreigntest.wave(
            h.transpose(0, 1).contiguous(), [h.transpose(0, 1)], 2.0, "wave"
        )
        return self.down(y.transpose(0, 1)) + total.t()[..., None]


@pytest.mark.parametrize("engine", ["tvm", "torch"])
def test_an_operator_of_the_users(engine: str, home: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Wave().eval()
    names = {"x": {0: "batch", 1: "length"}}
    compiled = l0.compile(model, (torch.randn(2, 3, 6),), dynamic_shapes=names, engine=engine)
    x = torch.randn(3, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)
    if engine == "tvm":
        assert any(
            o.target == "foreigntest.wave.default" for s in compiled.explain().islands for o in s.operators
        )
    compiled.save(tmp_path / "model")
    assert torch.equal(l0.load(tmp_path / "model")(x), compiled(x))
    if engine == "torch":
        _elsewhere(home, tmp_path, x, compiled(x))


def _elsewhere(home: Path, folder: Path, x: Tensor, expected: Tensor) -> None:
    """In a process of its own: refused at first, right once the operator is there."""
    numpy.save(folder / "x.npy", x.numpy())
    code = f"""
import sys, numpy, torch, l0compile as l0
try:
    l0.load({str(folder / "model")!r})
except l0.errors.ArtifactError as error:
    print(error)
sys.path.insert(0, {str(home)!r})
import home_of_wave
x = torch.from_numpy(numpy.load({str(folder / "x.npy")!r}))
numpy.save({str(folder / "y.npy")!r}, l0.load({str(folder / "model")!r})(x).numpy())
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "foreigntest.wave.default is neither PyTorch's nor registered" in ran.stdout
    assert "import home_of_wave, which registered it" in ran.stdout
    assert numpy.array_equal(numpy.load(folder / "y.npy"), expected.numpy())


def test_quantize_and_dequantize_of_pt2e(tmp_path: Path) -> None:
    import torch.ao.quantization.fx._decomposed

    class Quantized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.register_buffer("weight", torch.randint(-127, 127, (4, 8), dtype=torch.int8))
            self.register_buffer("scales", torch.rand(4) * 0.01 + 0.01)

        def forward(self, x: Tensor) -> Tensor:
            ops = torch.ops.quantized_decomposed
            narrow = ops.quantize_per_tensor(self.linear(x), 0.05, 3, 0, 255, torch.uint8)
            zeros = torch.zeros(4, dtype=torch.int64)
            weight = ops.dequantize_per_channel(self.weight, self.scales, zeros, 0, -127, 127, torch.int8)
            return F.linear(ops.dequantize_per_tensor(narrow, 0.05, 3, 0, 255, torch.uint8), weight)

    torch.manual_seed(0)
    model, x = Quantized().eval(), torch.randn(5, 8)
    compiled = l0.compile(model, (x,), engine="tvm")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-5)
    compiled.save(tmp_path / "model")
    assert torch.equal(l0.load(tmp_path / "model")(x), compiled(x))


def test_operators_that_pytorch_brings_along_are_found_unasked() -> None:
    code = "from l0compile.runtime.torch_calls import resolve\n"
    code += "print(resolve('quantized_decomposed.quantize_per_tensor.default'))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "quantized_decomposed.quantize_per_tensor.default"
    with pytest.raises(ArtifactError, match="no_such is neither"):
        resolve("quantized_decomposed.quantize_per_tensor.no_such")


def test_an_operator_that_draws_is_refused() -> None:
    with torch.library._scoped_library("foreigndraw", "DEF") as library:
        library.define("noise(Tensor x) -> Tensor", tags=(torch.Tag.nondeterministic_seeded,))
        library.impl("noise", lambda x: torch.rand_like(x), "CPU")
        library.impl("noise", lambda x: torch.empty_like(x), "Meta")

        class Noisy(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x + torch.ops.foreigndraw.noise(x)

        with pytest.raises(CaptureError, match=r"random operator foreigndraw.noise.default"):
            l0.compile(Noisy().eval(), (torch.randn(3),))
