"""complex_to_pairs: complex arithmetic becomes arithmetic on reals, whole regions of it or none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.complex_arithmetic import is_complex
from l0compile.rewrite.normalize.complex_pairs import complex_to_pairs
from l0compile.rewrite.normalize.fold_constants import fold_constants
from l0compile.rewrite.normalize.plain_arithmetic import plain_arithmetic
from l0compile.rewrite.runner import run

aten = torch.ops.aten

STEPS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "times itself": lambda z, w, r: z * z.conj(),
    "times a table": lambda z, w, r: z * w,
    "times a real tensor": lambda z, w, r: z * r,
    "a real tensor times it": lambda z, w, r: r.double().mean() * z,
    "times a number": lambda z, w, r: z * 0.5,
    "times a complex number": lambda z, w, r: z * (0.5 - 2j),
    "over a real tensor": lambda z, w, r: z / (r.abs() + 1),
    "plus a table": lambda z, w, r: z + w,
    "plus a real tensor": lambda z, w, r: z + r,
    "a real tensor less it": lambda z, w, r: r - z,
    "plus a number": lambda z, w, r: z + 3,
    "less a table": lambda z, w, r: z - w,
    "less a share": lambda z, w, r: torch.sub(z, w, alpha=2),
    "negative": lambda z, w, r: -z,
    "conjugate": lambda z, w, r: z.conj() + w,
    "resolved": lambda z, w, r: z.conj().resolve_conj(),
    "exponential": lambda z, w, r: torch.exp(z * 0.1),
    "turned": lambda z, w, r: z * torch.polar(torch.ones_like(r), r),
    "by a real phase": lambda z, w, r: z * torch.exp(1j * r),
    "put together": lambda z, w, r: torch.complex(z.imag, z.real),
    "rows of a row": lambda z, w, r: z[:, :1].expand(-1, 3, -1) + z.flip(1),
    "other axes": lambda z, w, r: z.transpose(0, 1).reshape(2, 3, 4).roll(1, 2),
    "joined": lambda z, w, r: torch.cat([z[..., 2:], w.expand(2, 3, 4)[..., :2]], -1),
    "stacked": lambda z, w, r: torch.stack([z, -z], 0)[1],
    "parts": lambda z, w, r: torch.cat(z.split(2, -1)[::-1], -1),
    "chosen": lambda z, w, r: torch.where(r > 0, z, z * 2),
    "picked": lambda z, w, r: z[..., torch.tensor([3, 0, 1, 1])],
    "summed": lambda z, w, r: z + z.sum(-1, keepdim=True),
    "wider": lambda z, w, r: (z.to(torch.complex128) * 2).to(torch.complex64),
    "as reals": lambda z, w, r: (z.view(torch.float32) * 2).view(torch.complex64),
    "squeezed": lambda z, w, r: z.unsqueeze(1).squeeze(1).clone(),
}


class Chain(nn.Module):
    """x [2, 3, 8] as complex [2, 3, 4] through some of STEPS, with a complex table as buffer."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.register_buffer("table", torch.randn(3, 4, dtype=torch.complex64).conj())

    def forward(self, x: Tensor, r: Tensor) -> tuple[Tensor, ...]:
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
        for name in self.names:
            z = STEPS[name](z, self.table, r)
        return torch.view_as_real(z).flatten(-2), z.real, z.imag, z


def inputs() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 3, 8), torch.randn(2, 3, 4)


def plain(program: Program) -> Program:
    """Factors of sums written out, as they are before complex numbers are looked at."""
    return run(program, [plain_arithmetic])


def complex_operators(program: Program) -> set[str]:
    """What still reads or makes complex values, the constants' own form and the way out left aside."""
    touching = (n for n in program.graph.nodes if any(map(is_complex, (n, *n.all_input_nodes))))
    return {str(n.target) for n in touching if n.op == "call_function"} - {"aten.complex.default"}


@pytest.mark.parametrize("name", STEPS)
def test_each_rule(name: str, apply_once: Callable[..., Program]) -> None:
    torch.manual_seed(0)
    given = inputs()
    result = apply_once(plain(capture(Chain((name,)).eval(), given)), complex_to_pairs, *given)
    assert not complex_operators(result)
    assert not any(value.is_complex() for value in result.constants.values())


@settings(max_examples=10)
@given(names=st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_chains(names: list[str], seed: int, agree: Callable[..., None]) -> None:
    torch.manual_seed(seed)
    given = inputs()
    program = plain(capture(Chain(tuple(names)).eval(), given))
    result = run(program, [complex_to_pairs])
    agree(program, result, *given)
    assert not complex_operators(result)


class Spectrum(nn.Module):
    """A Fourier transform with a product in the middle; beside it a rotation that has nothing to do with it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, dtype=torch.complex64))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        turned = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * self.weight[:4])
        spectrum = torch.fft.rfft(x)
        return torch.fft.irfft(spectrum * self.weight), spectrum.abs(), turned, spectrum.conj().imag


def test_what_has_no_rule_keeps_its_region(
    apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    x = torch.randn(2, 8)
    result = apply_once(capture(Spectrum().eval(), (x,)), complex_to_pairs, x)
    kept = complex_operators(result)
    assert {"aten.fft_rfft.default", "aten.mul.Tensor", "aten.fft_irfft.default", "aten.abs.default"} <= kept
    assert count(result, aten._neg_view.default) == 0
    # The rotation, whose table both use, is real.
    products = [n for n in result.graph.nodes if n.target is aten.mul.Tensor and not is_complex(n)]
    assert len(products) == 4


def test_nothing_complex_is_nothing_to_do(captured: Callable[..., Program]) -> None:
    program = captured(nn.Linear(4, 4), torch.randn(2, 4))
    assert complex_to_pairs(program) is program


@pytest.mark.parametrize("kind", [torch.complex64, torch.complex128, torch.complex32])
def test_inputs_and_results(kind: torch.dtype, agree: Callable[..., None]) -> None:
    class Product(nn.Module):
        def forward(self, z: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return z, z * w, (z * w).real

    z, w = (torch.randn(3, 4, dtype=torch.complex64).to(kind) for _ in range(2))
    program = capture(Product().eval(), (z, w))
    result = run(program, [complex_to_pairs])
    agree(program, result, z, w)
    # Half-precision parts are computed wider by PyTorch, so they stay.
    assert ("aten.mul.Tensor" in complex_operators(result)) == (kind is torch.complex32)


def test_symbolic_sizes(agree: Callable[..., None]) -> None:
    class Turn(nn.Module):
        def forward(self, x: Tensor, table: Tensor) -> Tensor:
            z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
            return torch.view_as_real(z * table[: z.shape[1]].view(1, z.shape[1], -1)).flatten(2)

    names: Any = {"x": {0: "batch", 1: "length"}, "table": None}
    table = torch.randn(9, 4, dtype=torch.complex64)
    program = capture(Turn().eval(), (torch.randn(2, 3, 8), table), dynamic_shapes=names)
    result = run(program, [complex_to_pairs])
    for size in ((1, 1), (3, 7)):
        agree(program, result, torch.randn(*size, 8), table)


def test_complex_constants_are_folded_as_pairs(
    captured: Callable[..., Program], agree: Callable[..., None]
) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.randn(5, dtype=torch.complex64))

        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.fftshift(self.table.conj()).exp())

    x = torch.randn(2, 8)
    program = captured(Table(), x)
    result = run(program, [fold_constants])
    agree(program, result, x)
    assert not any(value.is_complex() for value in result.constants.values())
    assert len(result.graph.find_nodes(op="call_function", target=aten.view_as_complex.default)) == 1
    assert not result.graph.find_nodes(op="call_function", target=aten.exp.default)
