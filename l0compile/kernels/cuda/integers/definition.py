"""The definitions of CUDA's kernels of 8-bit integers."""

from torch import fx

from l0compile.ir.nodes import arguments, is_static, shape
from l0compile.kernels.cuda.integers.code import cuda_int8_linear
from l0compile.kernels.cuda.integers.quantize import CudaQuantizeSpec, cuda_quantize
from l0compile.kernels.cuda.integers.schedules import default_integer_schedule, legal_integer_schedules
from l0compile.kernels.cuda.integers.spec import CudaIntegerLinearSpec
from l0compile.kernels.cuda.linear.schedules import cuda_cycles_bound
from l0compile.kernels.cuda.linear.spec import FEW_TOKENS, CudaLinearSchedule
from l0compile.kernels.definition import KernelCall, KernelDef, Schedules, given

_TENSORS = ("x", "data", "indices", "indptr", "order", "start", "scale", "bias", "residual", "inverse")


def _linear(node: fx.Node) -> KernelCall:
    own = arguments(node)
    x, data, residual = own["x"], own["data"], own["residual"]
    _, chunks, rows, _ = (0, 0, 0, 0) if own["indices"] is None else map(int, shape(data))
    spec = CudaIntegerLinearSpec(
        n=own["n"], words=int(shape(x)[-1]), rows=rows, chunks=chunks, bias=own["bias"] is not None,
        residual=residual is not None, order=own["order"] is not None, activation=own["activation"],
        zero_point=own["zero_point"] if own["inverse"] is not None else None, few=own["rows"] <= FEW_TOKENS,
    )  # fmt: skip
    return KernelCall(spec, given(*map(own.get, _TENSORS)), rows_in=True, rows_out=True, residual=residual)


def _quantize(node: fx.Node) -> KernelCall | None:
    x, inverse, zero_point = node.args
    features = shape(x)[-1]
    if not is_static(features):
        return None
    spec = CudaQuantizeSpec(int(features), zero_point)
    return KernelCall(spec, given(x, inverse), rows_in=True, rows_out=True)


CUDA_INT8_LINEAR = KernelDef(
    name="cuda_int8_linear",
    calls={"rows_int8_linear": _linear},
    spec=CudaIntegerLinearSpec,
    emit=cuda_int8_linear,
    costs=None,
    schedules=Schedules(
        CudaLinearSchedule, default_integer_schedule, legal_integer_schedules, cuda_cycles_bound
    ),
    dtypes=("float32", "int8"),
    kind="cuda",
)
CUDA_QUANTIZE = KernelDef(
    name="cuda_quantize",
    calls={"rows_quantize": _quantize},
    spec=CudaQuantizeSpec,
    emit=cuda_quantize,
    costs=None,
    dtypes=("float32", "int8"),
    kind="cuda",
)
