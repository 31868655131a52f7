"""Faults planted into the CUDA C++ of attention kernels: the emulation has to catch each."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from l0compile.kernels.cuda.attention.code import cuda_attention, cuda_block_attention
from l0compile.kernels.cuda.attention.spec import CudaAttentionSpec, CudaBlockAttentionSpec
from l0compile.kernels.cuda.emulation.faults import KernelFault
from l0compile.kernels.cuda.emulation.program import cuda_program
from tests.kernels.cuda.attention_cases import ALL, BY_HEAD, ONE, AttentionCase, compare, machine, operands

OWN = CudaAttentionSpec(2, 1, 40, 40, 0.3, "float16")
DENSE = AttentionCase(replace(OWN, after=0), (1, 129, 129))
# Its warps read their queries again in each step.
AGAIN = AttentionCase(replace(OWN, dim=64, value_dim=64), (1, 129, 129))
LISTED = AttentionCase(CudaBlockAttentionSpec(OWN, 64, 16, ALL, BY_HEAD, BY_HEAD, ONE), (1, 100, 194))


def without(text: str, number: int) -> Callable[[str], str]:
    """Remove one of several places of a text."""

    def mutate(source: str) -> str:
        places = [found.start() for found in re.finditer(re.escape(text), source)]
        return source[: places[number]] + source[places[number] + len(text) :]

    return mutate


def instead(pattern: str, text: str) -> Callable[[str], str]:
    """Replace the first place of a pattern."""
    return lambda source: re.sub(pattern, text, source, count=1)


EACH = {
    "no wait for a step": instead(r"(?<=  )ptx_wait_group_0\(\);", ""),
    "a wait for too few copies": instead(r"cp\.async\.wait_group 0", "cp.async.wait_group 1"),
    "queries that are not waited for": instead(r"cp\.async\.wait_group 1", "cp.async.wait_group 2"),
    "the stage that is loaded": instead(
        r"\(_ptr_(\d+)\[0\] % 2\) \* 14336", r"((_ptr_\1[0] + 1) % 2) * 14336"
    ),
    "the stage that is read": instead(r"\(\(v % 2\) \*", "(((v + 1) % 2) *"),
    "values not transposed": instead(r"x4\.trans\.shared", "x4.shared"),
    "keys transposed": instead(r"x4\.shared", "x4.trans.shared"),
    "fragments of the left operand swapped": instead(r'"r"\(a\[1\]\), "r"\(a\[2\]\)', '"r"(a[2]), "r"(a[1])'),
    "fragments of the right operand swapped": instead(
        r'"r"\(b\[0\]\), "r"\(b\[1\]\)', '"r"(b[1]), "r"(b[0])'
    ),
    "words of two weights swapped": instead(r'"f"\(high\), "f"\(low\)', '"f"(low), "f"(high)'),
    "lanes of another row": instead(r"value, 2\)", "value, 4)"),
    "one step too few": instead(r"\+ 63\) / 64\)", "+ 62) / 64)"),
    "no zeros behind the features": instead(r"16, %2;", "16, 16;"),
    "copies of other chunks": instead(r"\* 112\) \+ \(", "* 112) + 16 + ("),
}
PLANTED = {
    **{f"dense: {name}": (DENSE, mutate) for name, mutate in EACH.items()},
    **{f"dense: no barrier {i}": (DENSE, without("__syncthreads();", i)) for i in range(3)},
    **{f"listed: no barrier {i}": (LISTED, without("__syncthreads();", i)) for i in range(4)},
    "again: no barrier in the loop": (AGAIN, without("__syncthreads();", 1)),
    "again: queries of features before": (
        AGAIN,
        instead(r"(_ptr_\d+\[4\]\)\), \(_ptr_\d+\[0\] \+ )2368", r"\g<1>2336"),
    ),
    "again: queries of the other tile": (
        AGAIN,
        instead(r"(_ptr_\d+\[4\]\)\), \(_ptr_\d+\[0\] \+ )2304", r"\g<1>0"),
    ),
    "again: queries are not read": (AGAIN, instead(r"ptx_ldmatrix_x4\(\(&\(_ptr_\d+\[4\]\)\), .*\);", ";")),
    "again: keys in the place of queries": (
        AGAIN,
        instead(r"\+ 18432\);\n    ptx_ldmatrix", "+ 9216);\n    ptx_ldmatrix"),
    ),
    "again: queries in the place of keys": (
        AGAIN,
        instead(r"(ptx_cp_async_16\(.*) \+ 18432\)", r"\1 + 9216)"),
    ),
    "dense: no barrier of a warp": (DENSE, without("  ptx_warp_barrier();", 0)),
    "dense: a key too many": (DENSE, instead(r"(/ 4\)\) \+ _ptr_\d+\[0\]\) \+) 9\)", r"\1 10)")),
    "listed: numbers of another step": (LISTED, instead(r"\(\(v \+ 2\) % 3\)", "((v + 1) % 3)")),
    "listed: marks of another step": (
        LISTED,
        instead(r"\(\(v % 3\) \* 512\) \+ \(\(", "(((v + 1) % 3) * 512) + (("),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_caught(name: str) -> None:
    case, mutate = PLANTED[name]
    emit = cuda_block_attention if case is LISTED else cuda_attention
    arrays, lists = operands(case, seed=1)
    program = cuda_program(emit(case.spec, machine(80)), machine(80))  # type: ignore[arg-type]
    source = mutate(program.source)
    assert source != program.source
    try:
        found = replace(program, source=source).run(arrays)["y"]
    except KernelFault:
        return
    with pytest.raises(AssertionError):
        compare(case, torch.from_numpy(found.astype("float64")), arrays, lists)


@pytest.mark.slow
@pytest.mark.parametrize("case", [DENSE, AGAIN, LISTED], ids=["dense", "again", "listed"])
def test_without_a_fault_nothing_is_caught(case: AttentionCase) -> None:
    emit = cuda_block_attention if case is LISTED else cuda_attention
    arrays, lists = operands(case, seed=1)
    found = cuda_program(emit(case.spec, machine(80)), machine(80)).run(arrays)["y"]  # type: ignore[arg-type]
    compare(case, torch.from_numpy(found.astype("float64")), arrays, lists)
