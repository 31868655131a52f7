"""Faults to plant in the CUDA source of the linear kernels of 8-bit integers."""

from tests.kernels.cuda.emulation.mutants import Mutant

_MMA = (
    r"(mma\.sync\.aligned\.m16n8k32\.row\.col\.s32\.u8\.s8\.s32 )"
    r"\{%0, %1, %2, %3\}, \{%4, %5, %6, %7\}, \{%8, %9\}, \{%0, %1, %2, %3\}"
)
_SMALL = r"(mma\.sync\.aligned\.m8n8k16\.row\.col\.s32\.u8\.s8\.s32 )\{%0, %1\}, \{%2\}, \{%3\}, \{%0, %1\}"
_T = r"\(\(int\)threadIdx\.x\)"


def _mma(sums: str, a: str, b: str) -> str:
    return rf"\1{{{sums}}}, {{{a}}}, {{{b}}}, {{{sums}}}"


SPARSE = {
    "activations are signed": Mutant(r"s32\.u8\.s8\.s32", "s32.s8.s8.s32"),
    "weights are unsigned": Mutant(r"s32\.u8\.s8\.s32", "s32.u8.u8.s32"),
    "the operands change places": Mutant(r"s32\.u8\.s8\.s32", "s32.s8.u8.s32"),
    "a's rows swapped": Mutant(_MMA, _mma("%0, %1, %2, %3", "%5, %4, %7, %6", "%8, %9")),
    "a's halves of k swapped": Mutant(_MMA, _mma("%0, %1, %2, %3", "%6, %7, %4, %5", "%8, %9")),
    "b's halves of k swapped": Mutant(_MMA, _mma("%0, %1, %2, %3", "%4, %5, %6, %7", "%9, %8")),
    "the sums' rows swapped": Mutant(_MMA, _mma("%2, %3, %0, %1", "%4, %5, %6, %7", "%8, %9")),
    "a chunk of the weight is another output's": Mutant(rf"(\* 8\) \+ \({_T} & )7\)\) \^", r"\g<1>6)) ^", 0),
    "a fragment has the other chunk of k": Mutant(
        rf"(\(\({_T} & 15\) >> )3(\) \+ 2\)\) \* 16)", r"\g<1>2\2", 0
    ),
    "copies of the weight are not swizzled": Mutant(
        rf"(ptx_cp_async_16\([^;]*?)\({_T} >> 5\)(\)? ?\) \* 16)", r"\1(0)\2", 0
    ),
    "stages take other rows of the weight": Mutant(r"(data_ptr\[\(.*?\* \(int64_t\))32\)", r"\g<1>16)"),
    "a fragment of the weight is used twice": Mutant(r"(ptx_mma\w+\(.*)_ptr_(\d+)\[2\]", r"\1_ptr_\2[0]", 0),
    "a sum does not begin at zero": Mutant(r"^  _ptr_11\[5\] = 0;$", ";", 0),
    "the zero point is not made up for": Mutant(
        r"\(_ptr_(\d+)\[1\] \+ _ptr_(\d+)\[1\]\), ", r"_ptr_\1[1], ", 0
    ),
    "the scale of a neighbour": Mutant(r"(ptx_scaled_sum\(\(.*?\), _ptr_\d+)\[2\]", r"\1[3]", 0),
    "the start of other outputs": Mutant(r"start_ptr\[(_ptr_\d+\[0\])\]", r"start_ptr[\1 ^ 4]"),
    "the bias of other outputs": Mutant(r"bias_ptr\[(_ptr_\d+\[0\])\]", r"bias_ptr[\1 ^ 8]"),
    "results are not rounded to the nearest": Mutant(r"__float2int_rn\(", "__float2int_rz("),
    "levels wrap": Mutant(r"fminf\((fmaxf\(.*?\)), 178\.0f\)", r"\1"),
    "levels below zero": Mutant(r"fmaxf\((__fmul_rn\(value, inverse\)), -77\.0f\)", r"\1"),
    "two bytes of a word swapped": Mutant(r"<< \(uint\)8\)", "<< (uint)16)"),
    "results go to another word": Mutant(
        r"(ptx_store_global_uint32x1\(\(&\(y_ptr\[.*?)>> \(int64_t\)2", r"\1>> (int64_t)3", 0
    ),
    "results go one row down": Mutant(r"y_ptr\[\(\((_ptr_\d+\[0\]) \*", r"y_ptr[(((\1 + 1) *"),
    "no barrier between writing and reading a warp's results": Mutant(r"^  ptx_warp_barrier\(\);$", ";", 0),
    "no wait for copies": Mutant(r"^    ptx_wait_group_1\(\);$", ";", 0),
}

DENSE = {
    "the residual of another row": Mutant(
        r"residual_ptr\[\(\((_ptr_\d+\[0\]) \*", r"residual_ptr[(((\1 ^ 1) *"
    ),
    "scale and sum are rounded apart": Mutant(
        r"__fmaf_rn\((__int2float_rn\(total\)), scale, more\)", r"(__fmul_rn(\1, scale) + more)"
    ),
    "outputs past the end are written": Mutant(r"^(      if )\(_ptr_\d+\[0\] < 72\)", r"\1(1)"),
    "the start past the end is read": Mutant(r"^(  if )\(_ptr_\d+\[0\] < 72\)", r"\1(1)", 0),
}

TURING = {
    "rows of a fragment swapped": Mutant(r"(ptx_mma_m8n8k16_int8\(\(&\(_ptr_\d+\[)2(\]\)\))", r"\g<1>0\2", 0),
    "a chunk of k is used twice": Mutant(r"(ptx_mma_m8n8k16_int8\(.*?, \(&\(_ptr_\d+\[)2\]", r"\g<1>0]", 0),
    "sums do not go on": Mutant(_SMALL, r"\1{%0, %1}, {%2}, {%3}, {%1, %0}"),
}

SPLIT = {
    "a part is not added": Mutant(r"^( +)(_ptr_\d+)\[0\] = \(\2\[0\] \+ .*$", r"\1;", 0),
    "both parts take the same columns": Mutant(r"& 1\)", "& 0)", 0),
}

OF_EACH = {"sparse": SPARSE, "dense": DENSE, "turing": TURING, "split": SPLIT}
"""Kernel -> what is wrong -> the mutant."""
