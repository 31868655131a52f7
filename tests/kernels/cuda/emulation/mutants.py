"""Faults to plant in the CUDA source of the linear kernels: changes of its text that have to find what they change."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        pattern: a regular expression that the source has to have.
        replacement: what its places become.
        which: the number of the place that is changed; None: all of them.
    """

    pattern: str
    replacement: str
    which: int | None = None

    def planted(self, source: str) -> str:
        """Return ``source`` with the fault.

        Raises: AssertionError where the source has no such place, or nothing changes there.
        """
        places = list(re.finditer(self.pattern, source, re.MULTILINE))
        wanted = places if self.which is None else places[self.which :][:1]
        assert wanted, f"the source has {len(places)} places like {self.pattern!r}"
        for place in reversed(wanted):
            new = place.expand(self.replacement)
            assert new != place[0], f"nothing changes in {place[0]!r}"
            source = source[: place.start()] + new + source[place.end() :]
        return source


def _mma(sums: str, a: str, b: str) -> str:
    return rf"\1{{{sums}}}, {{{a}}}, {{{b}}}, {{{sums}}}"


_T = r"\(\(int\)threadIdx\.x\)"
_LOOP = r"(for \(int v = 0; v < _ptr_\d+\[0\])(; \+\+v\) \{\n)"
_MMA = (
    r"(mma\.sync\.aligned\.m16n8k16\.row\.col\.f32\.f16\.f16\.f32 )"
    r"\{%0, %1, %2, %3\}, \{%4, %5, %6, %7\}, \{%8, %9\}, \{%0, %1, %2, %3\}"
)
_SUMS, _A, _B = "%0, %1, %2, %3", "%4, %5, %6, %7", "%8, %9"

SPARSE = {
    "no barrier before a stage is multiplied": Mutant(r"^    __syncthreads\(\);$", ";", 0),
    "no barrier before results take the stages' place": Mutant(r"^  __syncthreads\(\);$", ";", 0),
    "no barrier between writing and reading a warp's results": Mutant(r"^  ptx_warp_barrier\(\);$", ";", 0),
    "no barrier before a warp's next results": Mutant(r"^  ptx_warp_barrier\(\);$", ";", 1),
    "no wait for copies": Mutant(r"^    ptx_wait_group_1\(\);$", ";", 0),
    "a wait for one stage too few": Mutant(r"cp\.async\.wait_group 1;", "cp.async.wait_group 2;"),
    "a group of copies is not committed": Mutant(r"^  ptx_commit_group\(\);$", ";", 1),
    "copies go to the stage that is multiplied": Mutant(r"\(\(v \+ 2\) % 3\)", "(v % 3)"),
    "copies go to the stage before": Mutant(r"\(\(v \+ 2\) % 3\)", "((v + 1) % 3)"),
    "the stage after is multiplied": Mutant(r"= \(v % 3\)", "= ((v + 1) % 3)"),
    "stages overlap": Mutant(r"\(\(_ptr_(\d+)\[0\] \* 6144\) \+", r"((_ptr_\1[0] * 6128) +"),
    "a stage is off by 8 bytes": Mutant(r"\(\(_ptr_(\d+)\[0\] \* 6144\) \+", r"(8 + (_ptr_\1[0] * 6144) +"),
    "one stage too few": Mutant(_LOOP, r"\1 - 1\2"),
    "one stage too many": Mutant(_LOOP, r"\1 + 1\2"),
    "a's registers swapped": Mutant(_MMA, _mma(_SUMS, "%5, %4, %7, %6", _B)),
    "a's halves of k swapped": Mutant(_MMA, _mma(_SUMS, "%6, %7, %4, %5", _B)),
    "b's registers swapped": Mutant(_MMA, _mma(_SUMS, _A, "%9, %8")),
    "the sums' rows swapped": Mutant(_MMA, _mma("%2, %3, %0, %1", _A, _B)),
    "sums do not go on": Mutant(_MMA, r"\1{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %0, %1}"),
    "the weight is not transposed": Mutant(r"x4\.trans\.shared", "x4.shared"),
    "x is transposed": Mutant(r"m8n8\.x4\.shared", "m8n8.x4.trans.shared"),
    "a fragment of the weight is used twice": Mutant(r"(ptx_mma\w+\(.*)_ptr_(\d+)\[2\]", r"\1_ptr_\2[0]", 0),
    "ldmatrix has wrong rows": Mutant(rf"(ptx_ldmatrix_x4_trans\(.*?{_T} & )15\)", r"\g<1>7)", 0),
    "ldmatrix has the other half of k": Mutant(rf"(ptx_ldmatrix_x4\(.*?{_T} & 31\) >> )4", r"\g<1>3", 0),
    "a fragment of k is never loaded": Mutant(r"^( +)ptx_ldmatrix_x4\(.*\);$", r"\1;", 2),
    "copies swizzle, loads do not": Mutant(rf"(ptx_ldmatrix_x4\(.*)\^ \(\({_T} & 7\) >> 1\)", r"\1^ (0)", 0),
    "loads swizzle, a copy does not": Mutant(
        rf"(ptx_cp_async_16\(.*?)\^ \(\({_T} & 31\) >> 3\)", r"\1^ (0)", 0
    ),
    "a copy is left out": Mutant(r"^( +)ptx_cp_async_16\(.*\);$", r"\1;", 3),
    "copies read what does not exist": Mutant(r"16, %2;", "16;"),
    "a sum does not begin at zero": Mutant(r"^  _ptr_\d+\[5\] = 0x0p\+0f.*$", ";", 0),
    "the columns of the next block": Mutant(r"(indices_ptr\[)", r"\1 1 + ", 0),
    "a block row ends a block late": Mutant(r"\+ \(int64_t\)1\)\];\n", "+ (int64_t)2)];\n", 0),
    "a block row begins a block early": Mutant(r"(= indptr_ptr\[_ptr_\d+\[0\]\])", r"\1 - 1", 0),
    "tokens past the end are written": Mutant(r"if \(_ptr_\d+\[0\] < tokens\)", "if (1)"),
    "one token too few is written": Mutant(r"if \((_ptr_\d+\[0\]) < tokens\)", r"if (\1 < tokens - 1)"),
    "results go one row down": Mutant(r"y_ptr\[\(\((_ptr_\d+\[0\]) \*", r"y_ptr[(((\1 + 1) *"),
    "the bias of other outputs": Mutant(r"bias_ptr\[(_ptr_\d+\[0\])\]", r"bias_ptr[\1 ^ 8]"),
    "words of two results swapped": Mutant(r'"f"\(high\), "f"\(low\)', '"f"(low), "f"(high)'),
}

DENSE = {
    "outputs past the end are written": Mutant(r"^(      if )\(_ptr_\d+\[0\] < 72\)", r"\1(1)"),
    "the bias past the end is read": Mutant(r"^(  if )\(_ptr_\d+\[0\] < 72\)", r"\1(1)"),
    "columns past the end are no zeros": Mutant(r"(ptx_cp_async_16\(.*weight_ptr.*), [^,]*\);$", r"\1, 16);"),
    "the residual of another row": Mutant(
        r"residual_ptr\[\(\((_ptr_\d+\[0\]) \*", r"residual_ptr[(((\1 ^ 1) *"
    ),
    "a barrier of warps only": Mutant(r"^    __syncthreads\(\);$", "    __syncwarp();", 0),
    "a barrier for some threads": Mutant(
        r"^    __syncthreads\(\);$", "    if (threadIdx.x < 40) __syncthreads();", 0
    ),
}

SPLIT = {
    "both parts take the same columns": Mutant(r"& 1\)", "& 0)", 0),
    "a part is not added": Mutant(r"^( +)(_ptr_\d+)\[0\] = \(\2\[0\] \+ .*$", r"\1;", 0),
}

RESIDENT = {
    "the next tile's stages overwrite results": Mutant(r"^    __syncthreads\(\);$", ";", -1),
    "a tile is computed by two blocks": Mutant(r"\(v \* cse_v\d+\)", "v"),
}

TF32 = {
    "a's registers swapped": Mutant(r"\{%4, %5, %6, %7\}", "{%4, %6, %5, %7}"),
}

MULTIPLY_ADD = {
    "no barrier before a stage is multiplied": Mutant(r"^    __syncthreads\(\);$", ";", 0),
    "a copy is left out": Mutant(r"^( +)ptx_cp_async_16\(.*\);$", r"\1;", 0),
}

OF_EACH = {
    "sparse": SPARSE, "dense": DENSE, "split": SPLIT, "resident": RESIDENT, "tf32": TF32, "multiply-add": MULTIPLY_ADD,
}  # fmt: skip
"""Kernel -> what is wrong -> the mutant."""
