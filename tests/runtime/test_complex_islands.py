"""Models with complex numbers: rotations run in compiled code, transforms in islands, saved or not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0


class Decoder(nn.Module):
    """Attention of the reference code of Llama: a complex table in a plain buffer, two query heads a key head."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(16, n, bias=False) for n in (16, 8, 8, 16))
        angles = torch.outer(torch.arange(32).float(), 100.0 ** -torch.arange(0, 1, 0.25))
        self.register_buffer("freqs_cis", torch.polar(torch.ones_like(angles), angles), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        table = self.freqs_cis[:length].view(1, length, 1, 4)
        q, k = (self.turn(layer(x).view(batch, length, -1, 8), table) for layer in (self.q, self.k))
        q, k, v = (t.transpose(1, 2) for t in (q, k, self.v(x).view(batch, length, -1, 8)))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(y.transpose(1, 2).reshape(batch, length, -1))

    def turn(self, x: Tensor, table: Tensor) -> Tensor:
        z = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(z * table).flatten(3).type_as(x)


class Spectral(nn.Module):
    """A layer of a Fourier neural operator, with complex weights; complex values come in and go out."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 16), nn.Linear(16, 8)
        self.weight = nn.Parameter(torch.randn(4, 4, 5, dtype=torch.complex64))

    def forward(self, x: Tensor, phase: Tensor) -> dict[str, Tensor]:
        spectrum = torch.fft.rfft(self.up(x)) * phase
        modes = torch.einsum("bim,iom->bom", spectrum[:, :, :5], self.weight)
        y = torch.fft.irfft(F.pad(modes, (0, 4)), n=16)
        return {"y": self.down(F.gelu(y)), "modes": modes, "sign": self.down(torch.fft.fft(x).conj().imag)}


CASES: dict[str, tuple[type[nn.Module], Any, Any, Any]] = {
    "rotation": (
        Decoder,
        (torch.randn(2, 5, 16),),
        {"x": {0: "batch", 1: "length"}},
        (torch.randn(1, 9, 16),),
    ),
    "transform": (
        Spectral,
        (torch.randn(2, 4, 16), torch.randn(9, dtype=torch.complex64)),
        {"x": {0: "batch"}, "phase": None},
        (torch.randn(3, 4, 16), torch.randn(9, dtype=torch.complex64).conj().resolve_conj()),
    ),
}


def close(got: Any, wanted: Any) -> None:
    for a, b in zip(*(torch.utils._pytree.tree_leaves(t) for t in (got, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("engine", ["tvm", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_answers_before_and_after_saving(name: str, engine: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, example, dynamic, other = CASES[name]
    model = build().eval()
    compiled = l0.compile(model, example, dynamic_shapes=dynamic, engine=engine)
    compiled.save(tmp_path / "model")
    loaded = l0.load(tmp_path / "model")
    for inputs in (example, other):
        with torch.no_grad():
            wanted = model(*inputs)
        close(compiled(*inputs), wanted)
        close(loaded(*inputs), wanted)
    with safe_open(tmp_path / "model" / "weights.safetensors", "pt") as file:
        assert not any(file.get_tensor(key).is_complex() for key in file.keys())  # noqa: SIM118
    if (name, engine) == ("rotation", "tvm"):
        explanation = compiled.explain()
        assert (
            not explanation.islands and sum("rope" in launch.function for launch in explanation.launches) == 2
        )
    compiled.profile()  # makes up complex inputs


def test_a_wrong_part_is_noticed() -> None:
    """Verification looks at complex results."""
    model = Spectral().eval()
    example = CASES["transform"][1]
    calls = 0

    class Wrong(nn.Module):
        def forward(self, x: Tensor, phase: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            result = model(x, phase)["modes"]
            return result if calls == 1 else torch.complex(result.real, result.imag + 0.01)

    with pytest.raises(l0.L0CompileError, match="verification: output 0: expected the model's values"):
        l0.compile(Wrong().eval(), example, engine="torch")
