"""The definition of CUDA's linear kernel for 2:4."""

from math import prod

from torch import fx

from l0compile.ir.nodes import arguments, example_size, shape
from l0compile.kernels.cuda.linear.spec import FEW_TOKENS, CudaLinearSchedule
from l0compile.kernels.cuda.two_of_four.code import cuda_two_of_four_linear
from l0compile.kernels.cuda.two_of_four.schedules import (
    default_two_of_four_schedule,
    legal_two_of_four_schedules,
    two_of_four_cycles_bound,
)
from l0compile.kernels.cuda.two_of_four.spec import CudaTwoOfFourSpec
from l0compile.kernels.definition import KernelCall, KernelDef, Schedules, given

_TYPES = ("float16", "bfloat16")


def _call(node: fx.Node) -> KernelCall | None:
    own = arguments(node)
    x, residual = own["x"], own["residual"]
    dtype = str(x.meta["val"].dtype).removeprefix("torch.")
    if dtype not in _TYPES:
        return None
    spec = CudaTwoOfFourSpec(
        n=own["n"], k=int(shape(x)[-1]), dtype=dtype, bias=own["bias"] is not None, residual=residual is not None,
        activation=own["activation"], few=prod(map(example_size, shape(x)[:-1])) <= FEW_TOKENS,
    )  # fmt: skip
    tensors = given(x, own["kept"], own["places"], own["bias"], residual)
    return KernelCall(spec, tensors, rows_in=True, rows_out=True, residual=residual)


CUDA_TWO_OF_FOUR_LINEAR = KernelDef(
    name="cuda_two_of_four_linear",
    calls={"two_of_four_linear": _call},
    spec=CudaTwoOfFourSpec,
    emit=cuda_two_of_four_linear,
    costs=None,
    schedules=Schedules(
        CudaLinearSchedule,
        default_two_of_four_schedule,
        legal_two_of_four_schedules,
        two_of_four_cycles_bound,
    ),
    dtypes=_TYPES,
    kind="cuda",
)
