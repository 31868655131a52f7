"""The definition of CUDA's linear kernel (oracles: ``dense_linear``, ``rows_bsr_linear`` and ``bsr_linear``)."""

from math import prod

from torch import fx

from l0compile.ir.nodes import arguments, example_size, shape
from l0compile.kernels.cuda.costs.linear import CUDA_LINEAR_COSTS, thread_blocks
from l0compile.kernels.cuda.linear.code import cuda_linear
from l0compile.kernels.cuda.linear.schedules import cuda_cycles_bound, default_schedule, legal_schedules
from l0compile.kernels.cuda.linear.spec import FEW_TOKENS, CudaLinearSchedule, CudaLinearSpec
from l0compile.kernels.definition import KernelCall, KernelDef, Schedules, given

_TYPES = ("float32", "float16", "bfloat16")
# A block row is cut into columns of a tensor core's tile.
LEAST_ROWS = 16


def _call(node: fx.Node) -> KernelCall | None:
    own = arguments(node)
    x, weight, residual = own["x"], own["data" if "data" in own else "weight"], own.get("residual")
    block = tuple(map(int, weight.meta["val"].shape[:0:-1])) if "data" in own else (0, 0)
    dtype = str(x.meta["val"].dtype).removeprefix("torch.")
    if dtype not in _TYPES or block[0] % LEAST_ROWS:
        return None
    n = own["n"] if "n" in own else int(weight.meta["val"].shape[0])
    few = own["rows"] if "rows" in own else prod(map(example_size, shape(x)[:-1]))
    spec = CudaLinearSpec(
        n=n, k=int(x.meta["val"].shape[-1]), rows=block[0], cols=block[1], dtype=dtype, bias=own["bias"] is not None,
        residual=residual is not None, order=own.get("order") is not None, activation=own.get("activation", ""),
        few=few <= FEW_TOKENS,
    )  # fmt: skip
    return KernelCall(spec, given(*map(own.get, _TENSORS)), rows_in=True, rows_out=True, residual=residual)


_TENSORS = ("x", "weight", "data", "indices", "indptr", "order", "bias", "residual")

CUDA_LINEAR = KernelDef(
    name="cuda_linear",
    calls={"dense_linear": _call, "rows_bsr_linear": _call, "bsr_linear": _call},
    spec=CudaLinearSpec,
    emit=cuda_linear,
    costs=CUDA_LINEAR_COSTS,
    op="linear",
    schedules=Schedules(
        CudaLinearSchedule, default_schedule, legal_schedules, cuda_cycles_bound, thread_blocks
    ),
    dtypes=_TYPES,
    kind="cuda",
)
