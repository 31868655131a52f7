"""Kernels by themselves: their operands are lawful, and spills are seen in their code."""

import itertools

import numpy as np
import pytest

from l0compile.errors import ConfigError
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import spec_of
from l0compile.kernels.token_tile import token_tile
from l0compile.measurement.tune.kernels import spills
from l0compile.measurement.tune.operands import operands
from l0compile.measurement.tune.timing import Here

TILE = token_tile(load_target("x86-64-avx512"))


def test_blocks_are_kept_at_random_places_in_order() -> None:
    work = KernelWorkload("linear", (10, 24), (4, 1), 0.25, 70)
    for x, data, indices, indptr, bias, y in operands(work, TILE, Here().tensor):
        assert tuple(x.shape) == (2, 24, 64) and tuple(y.shape) == (2, 10, 64) and tuple(bias.shape) == (10,)
        columns, begins = indices.numpy(), indptr.numpy()
        assert tuple(data.shape) == (18, 1, 4) and begins[0] == 0 and begins[-1] == 18 and len(begins) == 4
        for first, last in itertools.pairwise(begins):
            assert np.all(np.diff(columns[first:last]) > 0)
        assert columns.min() >= 0 and columns.max() < 24


def test_weights_take_turns_in_the_caches() -> None:
    small, large = (KernelWorkload("linear", (64 * n, 384), (4, 1), 0.5, 64) for n in (1, 200))
    assert len(operands(small, TILE, Here().tensor)) > len(operands(large, TILE, Here().tensor)) == 1


@pytest.mark.parametrize(
    "work",
    [
        KernelWorkload("linear", (64,)),
        KernelWorkload("linear", (64, 64), variant="sine"),
        KernelWorkload("norm", (64,), variant="batch"),
        KernelWorkload("unheard of", (1,)),
        KernelWorkload("attention", (0, 0, 1, 1, 1, 1)),
    ],
    ids=str,
)
def test_work_that_no_kernel_does_is_refused(work: KernelWorkload) -> None:
    with pytest.raises(ConfigError, match="no kernel does"):
        spec_of(work, TILE)


def test_spills_are_stores_of_vector_registers_to_the_stack() -> None:
    spilled = (
        "\tvmovaps\t%zmm3, 64(%rsp)", "\tvmovups\t%ymm1, -32(%rbp)", "\tstr\tq0, [sp, #16]",
        "\tstp\tq1, q2, [sp, #32]",
    )  # fmt: skip
    harmless = (
        "\tvmovaps\t64(%rsp), %zmm3", "\tvmovups\t%zmm0, (%rax)", "\tldr\tq0, [sp, #16]", "\tstr\tq0, [x0]",
    )  # fmt: skip
    assert all(spills(line) == 1 for line in spilled) and not any(spills(line) for line in harmless)
    assert spills("\n".join((*spilled, *harmless))) == 4
