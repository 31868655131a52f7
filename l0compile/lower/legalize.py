"""Legalisation of transcendental operators to polynomials: else ``exp``, ``erf``, ``tanh`` are scalar libm calls."""

from collections.abc import Callable
from typing import Any

from l0compile._tvm import te, topi
from l0compile.kernels import lanes


def _elementwise(function: Callable[[Any], Any], name: str) -> Callable[[Any, Any], Any]:
    def legalize(builder: Any, call: Any) -> Any:
        def compute(x: Any) -> Any:
            if str(x.dtype) != "float32":
                return getattr(topi, name)(x)
            return te.compute(x.shape, lambda *i: function(x(*i)), name=name)

        return builder.call_te(compute, call.args[0], primfunc_name_hint=name)

    return legalize


def _softmax(builder: Any, call: Any) -> Any:
    def compute(x: Any) -> Any:
        axis = int(call.attrs.axis)
        top = topi.max(x, axis, keepdims=True)
        exponents = te.compute(x.shape, lambda *i: lanes.exp(x(*i) - top(*_at(i, axis, x))), name="exponents")
        total = topi.sum(exponents, axis, keepdims=True)
        return te.compute(x.shape, lambda *i: exponents(*i) / total(*_at(i, axis, x)), name="softmax")

    return builder.call_te(compute, call.args[0], primfunc_name_hint="softmax")


def _at(index: tuple[Any, ...], axis: int, x: Any) -> tuple[Any, ...]:
    axis %= len(x.shape)
    return tuple(0 if i == axis else value for i, value in enumerate(index))


LEGALIZATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "relax.exp": _elementwise(lanes.exp, "exp"),
    "relax.erf": _elementwise(lanes.erf, "erf"),
    "relax.tanh": _elementwise(lanes.tanh, "tanh"),
    "relax.sigmoid": _elementwise(lanes.sigmoid, "sigmoid"),
    "relax.nn.silu": _elementwise(lanes.ACTIVATIONS["silu"], "silu"),
    "relax.nn.gelu": _elementwise(lanes.gelu, "gelu"),
    "relax.nn.gelu_tanh": _elementwise(lanes.gelu_tanh, "gelu_tanh"),
    "relax.nn.softmax": _softmax,
}
