"""Faults to plant in the CUDA source of linear kernels that multiply by warpgroups."""

from tests.kernels.cuda.emulation.mutants import Mutant


def _line(call: str) -> str:
    return rf"^    ptx_wgmma_{call}\(\);$"


def _descriptor(swizzle: int, stride: int, panel: int = 16) -> str:
    """The fixed part of a descriptor, as it stands in the source."""
    return str(swizzle << 62 | stride >> 4 << 32 | panel >> 4 << 16)


# As the kernels have them: x in rows of 64 bytes, the weight in rows of 128, and of 128 outputs two panels of 4 KiB.
_X, _WEIGHT, _WIDE = _descriptor(2, 512), _descriptor(1, 1024, 4096), _descriptor(1, 1024, 4096)
_SUMS = "(wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 )"

SPARSE = {
    "no wgmma.fence": Mutant(_line("fence"), ";"),
    "a sum is written behind wgmma.fence": Mutant(
        _line("fence"), r"    ptx_wgmma_fence(); _ptr_10[3] = 0.0f;"
    ),
    "writes are not shown to products": Mutant(_line("show_writes"), ";"),
    "writes are shown before copies have arrived": Mutant(
        r"^    ptx_wait_group_1\(\);\n    ptx_wgmma_show_writes\(\);$",
        "    ptx_wgmma_show_writes();\n    ptx_wait_group_1();",
    ),
    "one warp does not show what it wrote": Mutant(
        _line("show_writes"), "    if (threadIdx.x >= 32) ptx_wgmma_show_writes();"
    ),
    "no wait for copies": Mutant(r"^    ptx_wait_group_1\(\);$", ";", 0),
    "no barrier before a stage is multiplied": Mutant(r"^    __syncthreads\(\);$", ";", 0),
    "products are not waited for": Mutant(_line("wait_0"), ";"),
    "a wait for one group too few": Mutant(
        r"wgmma\.wait_group\.sync\.aligned 0;", "wgmma.wait_group.sync.aligned 1;"
    ),
    "products are not committed": Mutant(_line("commit"), ";"),
    "products are committed before the last": Mutant(
        r"^(    ptx_wgmma_n64.*\n)    ptx_wgmma_commit\(\);$", r"    ptx_wgmma_commit();\n\1"
    ),
    "a sum is read before the wait": Mutant(_line("commit"), "    ptx_wgmma_commit(); _ptr_10[3] += 1.0f;"),
    "copies go to the stage that is multiplied": Mutant(r"\(\(v \+ 2\) % 3\)", "(v % 3)"),
    "the stage after is multiplied": Mutant(r"= \(v % 3\)", "= ((v + 1) % 3)"),
    "x has a wrong stride": Mutant(_X, _descriptor(2, 256)),
    "x has rows of 128 bytes": Mutant(_X, _descriptor(1, 512)),
    "x is not swizzled": Mutant(_X, _descriptor(0, 512)),
    "the weight has a wrong stride": Mutant(_descriptor(1, 1024, 4096), _descriptor(1, 512, 4096)),
    "the weight has rows of 64 bytes": Mutant(_descriptor(1, 1024, 4096), _descriptor(2, 1024, 4096)),
    "a descriptor has a bit that means nothing": Mutant(_X, str(int(_X) | 1 << 52)),
    "the weight is not transposed": Mutant(r"p, 1, 1, 0, 1;", "p, 1, 1, 0, 0;"),
    "x is transposed": Mutant(r"p, 1, 1, 0, 1;", "p, 1, 1, 1, 1;"),
    "x is negated": Mutant(r"p, 1, 1, 0, 1;", "p, -1, 1, 0, 1;"),
    "sums do not go on": Mutant(r"setp\.ne\.b32 p, 1, 0;", "setp.ne.b32 p, 0, 0;"),
    "two sums swapped": Mutant(_SUMS + r"\{%0, %1, ", r"\1{%1, %0, "),
    "sums of two rows swapped": Mutant(_SUMS + r"\{%0, %1, %2, %3, ", r"\1{%2, %3, %0, %1, "),
    "numbers of the other type": Mutant(r"k16\.f32\.f16\.f16", "k16.f32.bf16.bf16"),
    "the first k of x twice": Mutant(r"\+ 32\)\) >> \(uint\)4", "+ 0)) >> (uint)4"),
    "the first k of the weight twice": Mutant(r"\(_ptr_(\d+)\[0\] \+ 10240\)", r"(_ptr_\1[0] + 8192)"),
    "warpgroups take the other's tokens": Mutant(
        r"\(\(\(int\)threadIdx\.x\) >> 7\) \* 4096", "(((int)threadIdx.x) >> 7 ^ 1) * 4096"
    ),
    "warps of a warpgroup name unlike matrices": Mutant(
        r"\(\(\(int\)threadIdx\.x\) >> 7\) \* 4096", "(((int)threadIdx.x) >> 6) * 2048"
    ),
    "three of four warps multiply": Mutant(
        r"^(    )(ptx_wgmma_n64)", r"\1if ((threadIdx.x & 96) < 96) \2", 0
    ),
    "shared memory begins anywhere": Mutant(r"\+ 960\) & -1024", "+ 0) & -64"),
    "copies do not swizzle": Mutant(
        r"(ptx_cp_async_16\(.*?)\^ \(\(\(\(int\)threadIdx\.x\) & 31\) >> 3\)", r"\1^ (0)", 0
    ),
}

WIDE = {
    "the weight's panels lie elsewhere": Mutant(_WIDE, _descriptor(1, 1024, 2048)),
    "stride and panel swapped": Mutant(_WIDE, _descriptor(1, 4096, 1024)),
    "no barrier before results take the stages' place": Mutant(r"^  __syncthreads\(\);$", ";", 0),
}

DENSE = {
    "the weight has a wrong stride": Mutant(_descriptor(1, 1024), _descriptor(1, 2048), 1),
    "writes through registers are not shown": Mutant(_line("show_writes"), ";"),
}

OF_WARPGROUPS = {"sparse": SPARSE, "wide": WIDE, "dense": DENSE}
"""Kernel -> what is wrong -> the mutant."""
