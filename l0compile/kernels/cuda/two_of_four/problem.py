"""Random numbers to run a linear kernel for 2:4 with, and what it has to compute from them."""

from dataclasses import replace

import torch

from l0compile.ir.ops.two_of_four import to_two_of_four
from l0compile.kernels.cuda.linear.problem import CudaLinearProblem, cuda_linear_problem, expected_of
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec


def two_of_four_problem(spec: CudaTwoOfFourSpec, tokens: int, seed: int = 0) -> CudaLinearProblem:
    """Make a problem; each group of a row keeps two numbers, one or none, at random places.

    Args:
        spec: of the kernel.
        tokens: rows of x.
        seed: of the random numbers.
    """
    arrays = dict(cuda_linear_problem(spec.dense, tokens, seed=seed).arrays)
    weight = arrays.pop("weight")
    random = torch.Generator().manual_seed(seed)
    groups = torch.rand(spec.n, -(-spec.k // 4), 4, generator=random)
    kept = (
        groups.argsort(2).argsort(2)
        < torch.randint(0, 5, groups.shape[:2], generator=random).clamp(max=2)[..., None]
    )
    weight = weight * kept.reshape(spec.n, -1)[:, : spec.k]
    arrays["kept"], arrays["places"] = to_two_of_four(weight)
    return expected_of(spec.dense, arrays, weight.double())


def swapped_places(problem: CudaLinearProblem) -> CudaLinearProblem:
    """The same with the places of two neighbouring groups swapped: what a kernel must not get right."""
    places = problem.arrays["places"]
    low, high = places & 0x0F0F0F0F, places >> 4 & 0x0F0F0F0F
    return replace(problem, arrays={**problem.arrays, "places": low << 4 | high})
