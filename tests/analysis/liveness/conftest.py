"""The oracle of liveness: run a program with noise in every element that is said to be dead."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from l0compile.analysis.liveness import Liveness, analyse
from l0compile.ir.program import Program


class Noisy(fx.Interpreter):
    """Checks known elements, and overwrites those that are neither known nor read."""

    def __init__(self, program: Program, liveness: Liveness) -> None:
        super().__init__(program.module())
        self.by_name = {node.name: node for node in liveness.facts}
        self.liveness = liveness
        self.overwritten = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        node = self.by_name.get(n.name)
        if node is None or n.op != "call_function":
            return result
        fact = self.liveness.fact(node)
        known = fact.known.expand(result.shape)
        torch.testing.assert_close(
            result[known], fact.value.expand(result.shape)[known].to(result.dtype), rtol=1e-5, atol=1e-5
        )
        dead = ~known & ~self.liveness.live(node).expand(result.shape)
        self.overwritten += int(dead.sum())
        return torch.where(dead, torch.randn(result.shape, dtype=result.dtype) * 100, result)


@pytest.fixture(scope="session")
def check_liveness() -> Callable[..., int]:
    """``check(program, *inputs)``: known elements have their value and dead ones do not matter; how many were dead."""

    def check(program: Program, *inputs: Tensor) -> int:
        noisy = Noisy(program, analyse(program))
        expected = program.module()(*inputs)
        for got, want in zip(noisy.run(*inputs), expected, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        return noisy.overwritten

    return check


@pytest.fixture(scope="session")
def with_zeros() -> Callable[..., Program]:
    """``with_zeros(program, seed, share)``: random whole rows, columns and vectors of the constants set to zero."""

    def zeroed(program: Program, seed: int, share: float) -> Program:
        generator = torch.Generator().manual_seed(seed)
        constants = {name: _zeroed(value, generator, share) for name, value in program.constants.items()}
        return replace(program, constants=constants)

    return zeroed


def _zeroed(value: Tensor, generator: torch.Generator, share: float) -> Tensor:
    if not value.dtype.is_floating_point:
        return value
    for axis in range(value.ndim):
        keep = torch.rand(value.shape[axis], generator=generator) >= share
        value = value * keep.reshape([-1 if a == axis else 1 for a in range(value.ndim)])
    return value * (torch.rand((), generator=generator) >= share / 4)
