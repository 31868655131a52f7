"""Models with layers of 8-bit integers, compiled: the numbers of PyTorch, in blocks where those are zero."""

from typing import Any

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.compiler.verification.rounding import rounding_distance

ops = torch.ops.l0compile


class Integers(nn.Module):
    """A linear layer of 8-bit integers, with random numbers; ``density``: of its 4 x 4 blocks."""

    def __init__(
        self, k: int, n: int, density: float = 1.0, bias: bool = True, zero_point: int = 120
    ) -> None:
        super().__init__()
        weight = torch.randint(-127, 128, (n, k), dtype=torch.int8)
        kept = torch.rand(-(-n // 4), -(-k // 4)) < density
        weight *= kept.repeat_interleave(4, 0).repeat_interleave(4, 1)[:n, :k]
        self.register_buffer("weight", weight)
        self.register_buffer("scale", torch.rand(n) * 1e-3)
        self.register_buffer("inverse", 20 + 20 * torch.rand(k))
        self.bias = nn.Parameter(torch.randn(n)) if bias else None
        self.zero_point = zero_point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = ops.quantize(x, self.inverse, self.zero_point)
        return ops.int8_linear(q, self.weight, self.scale, self.bias, self.zero_point)


class Block(nn.Module):
    """A transformer's feed-forward part: two readers of one normalised value, GELU, a residual."""

    def __init__(self, density: float) -> None:
        super().__init__()
        self.norm, self.first = nn.LayerNorm(32), Integers(32, 64, density)
        self.second, self.other = Integers(64, 32, density, zero_point=6), Integers(32, 10)
        self.other.inverse = self.first.inverse

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.norm(x)
        return x + self.second(nn.functional.gelu(self.first(y))), self.other(y)


def compiled(model: nn.Module, *args: torch.Tensor, **options: Any) -> Any:
    return l0.compile(model.eval(), args, engine="tvm", **options)


def launches(model: Any) -> list[str]:
    return [launch.function.rsplit("_", 1)[0] for launch in model.explain().launches]


@pytest.mark.parametrize("density", [1.0, 0.3])
def test_a_feed_forward_part(density: float) -> None:
    torch.manual_seed(0)
    model, x = Block(density), torch.randn(2, 35, 32)
    result = compiled(model, x)
    with torch.no_grad():
        for found, wanted in zip(result(x), model(x), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-2)
    # The norm writes the integers that both of its readers share, and GELU's result is written as integers.
    assert "narrow" not in launches(result)
    assert not result.explain().islands
    formats = {
        region.name: (region.format, region.block, region.precision) for region in result.explain().regions
    }
    sparse = ("bsr", (4, 4), "int8") if density < 1 else ("dense", None, "int8")
    assert formats == {"first": sparse, "second": sparse, "other": ("dense", None, "int8")}


@pytest.mark.parametrize(("k", "n"), [(30, 10), (3, 5), (64, 1), (1, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_sums_are_exact_for_any_size(k: int, n: int, bias: bool) -> None:
    torch.manual_seed(1)
    model, x = Integers(k, n, bias=bias), torch.randn(3, 7, k)
    with torch.no_grad():
        assert torch.equal(compiled(model, x)(x), model(x))


def test_any_batch() -> None:
    torch.manual_seed(2)
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    model = nn.Sequential(Integers(32, 64, 0.4), nn.ReLU(), Integers(64, 16, 0.4))
    result = compiled(model, torch.randn(2, 5, 32), dynamic_shapes=({0: batch, 1: length},))
    with torch.no_grad():
        for size in ((1, 1), (3, 17), (2, 64), (5, 40)):
            x = torch.randn(*size, 32)
            assert torch.equal(result(x), model(x))


def test_one_vector_stays_in_pytorch() -> None:
    model, x = Integers(16, 8).eval(), torch.randn(16)
    with torch.no_grad():
        assert torch.equal(l0.compile(model, (x,))(x), model(x))


def test_saved_and_loaded(tmp_path: Any) -> None:
    torch.manual_seed(3)
    model, x = Block(0.3), torch.randn(1, 20, 32)
    result = compiled(model, x)
    result.save(tmp_path / "model")
    again = l0.load(tmp_path / "model")
    for one, other in zip(result(x), again(x), strict=True):
        assert torch.equal(one, other)


def test_the_last_bits_decide_between_levels() -> None:
    """The accepted difference grows with what roundings make, and is none for a model that rounds nothing."""
    torch.manual_seed(4)
    x = torch.randn(4, 64, 32)

    def apart(one: torch.Tensor, other: torch.Tensor) -> float:
        return float((one - other).abs().max() / other.abs().max())

    deep = nn.Sequential(*(layer for _ in range(4) for layer in (nn.LayerNorm(32), Integers(32, 32))))
    with torch.no_grad():
        assert 0 < rounding_distance(deep, ((x,), {}), deep(x), apart) < 0.5
        one = Integers(32, 4)
        few = torch.randn(1, 1, 32)
        assert (
            0 < rounding_distance(one, ((few,), {}), one(few), apart) < 0.2
        )  # by the nearest to a border alone
        assert rounding_distance(nn.Linear(32, 32), ((x,), {}), x, apart) == 0.0
    record = compiled(deep, x).explain().verification
    assert record["tolerance"] == record["rounding"] >= record["max_difference"]


def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from l0compile.kernels.cpu.linear import integers

    torch.manual_seed(5)
    model, x = Integers(32, 16), torch.randn(2, 9, 32)
    monkeypatch.setattr(integers, "as_float", lambda total, width: integers.broadcast(1.0, width))
    with pytest.raises(l0.L0CompileError, match="verification"):
        compiled(model, x)
