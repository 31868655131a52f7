"""What TVM does first with a translated module, whatever machine it is for: legalise, fuse, and say what is allocated.

Both functions run within ``tvm_target``.
"""

from typing import Any

from l0compile.hardware._tvm import relax, tvm


def fused(module: Any) -> Any:
    """Write operators as loops, and several of them as one function."""
    return tvm.transform.Sequential([
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FoldConstant(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        relax.transform.DeadCodeElimination(),
    ])(module)  # fmt: skip


def allocating(module: Any) -> Any:
    """Let ``main`` allocate each tensor, and call the function that fills it."""
    return tvm.transform.Sequential([
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
    ])(module)  # fmt: skip
