"""What is true of an ATen operator, whoever asks: one table for analyses, rewrites and lowering.

A list that is the rule of one pass ("what this pass can rewrite") stays in that pass; a statement about the operator
itself ("its result holds the same elements in the same order") is here, once. An operator that is not in the table has
no facts: :func:`facts_of` then answers with ``OperatorFacts()``, from which nothing follows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx
from torch._ops import OpOverload

aten = torch.ops.aten

Moves = Literal["reshape", "permute", "part", "repeat", "copy", "pick"]
WindowKind = Literal["convolution", "transposed convolution", "max", "mean", "adaptive mean", "resample"]
Reduces = Literal["sum", "mean", "max", "min", "other"]


@dataclass(frozen=True)
class OperatorFacts:
    """The facts of one overload; the defaults claim nothing.

    Attributes:
        moves: every element of the result is an element of the first operand. ``reshape``: all of them in the same
            row-major order; ``permute``: all, with axes exchanged; ``part``: a slice; ``repeat``: each once or more,
            broadcast; ``copy``: each at its own place, perhaps in another dtype; ``pick``: those that indices name.
        casts: a ``copy`` that may change the dtype.
        strides: ``fit``: the result is a view, which the operand's strides must allow (``reshape`` asks for nothing);
            ``read``: the values depend on how the operand lies in memory.
        elementwise: number of operands that the function takes element by element, broadcast; 0: it is not elementwise.
        keeps_zero: an elementwise function of one operand with f(0) = 0, whatever its other arguments.
        not_negative: no element of the result is below 0 (NaN aside), whatever the arguments.
        logic: elementwise ``and`` or ``or``; bitwise for integers.
        fills: the result is one number: this one, or that of the argument ``fill_value``.
        window: a function over windows of the last ``positions`` axes, for each channel or over all of them.
        positions: the number of those axes, 1 to 3.
        matrix_product: [..., m, k] @ [..., k, n].
        reduces: how the axes of the argument ``dim`` (all without one) become one number; they go, or keep size 1.
        mixes: along the axis ``dim``, which stays, each result depends on several elements.
        splits: several results, which are consecutive parts of the first operand along ``dim``.
    """

    moves: Moves | None = None
    casts: bool = False
    strides: Literal["fit", "read"] | None = None
    elementwise: int = 0
    keeps_zero: bool = False
    not_negative: bool = False
    logic: Literal["and", "or"] | None = None
    fills: float | Literal["fill_value"] | None = None
    window: WindowKind | None = None
    positions: int = 0
    matrix_product: bool = False
    reduces: Reduces | None = None
    mixes: bool = False
    splits: bool = False

    @property
    def copies(self) -> bool:
        """Whether the result is the first operand once more, in its own dtype."""
        return self.moves == "copy" and not self.casts


_UNKNOWN = OperatorFacts()


def facts_of(called: Any) -> OperatorFacts:
    """The facts of an operator, or of the one that a node calls; none for anything else."""
    target = called.target if isinstance(called, fx.Node) and called.op == "call_function" else called
    return _TABLE.get(target, _UNKNOWN) if isinstance(target, OpOverload) else _UNKNOWN


def operators(**wanted: Any) -> tuple[OpOverload, ...]:
    """The operators whose facts have these values, in the order of the table: ``operators(moves="reshape")``."""
    return tuple(
        operator
        for operator, facts in _TABLE.items()
        if all(getattr(facts, name) == value for name, value in wanted.items())
    )


def _overloads(names: str, *overloads: str) -> list[OpOverload]:
    """The given overloads of the packets called ``names``, those that exist."""
    packets = [getattr(aten, name) for name in names.split()]
    return [getattr(packet, o) for packet in packets for o in overloads if o in packet.overloads()]


def _all(found: Iterable[OpOverload], **facts: Any) -> dict[OpOverload, OperatorFacts]:
    return dict.fromkeys(found, OperatorFacts(**facts))


def _over_windows(positions: int) -> dict[OpOverload, OperatorFacts]:
    """Operators on the last ``positions`` axes of [batch, channels, ...]."""
    n, linear = positions, ("linear", "bilinear", "trilinear")[positions - 1]
    transposed = _overloads(f"conv_transpose{n}d", "default" if n == 1 else "input")
    resampling = f"upsample_nearest{n}d upsample_{linear}{n}d" + (" upsample_bicubic2d" if n == 2 else "")
    adaptive = f"adaptive_avg_pool{n}d" + ("" if n == 1 else f" _adaptive_avg_pool{n}d")
    return {
        **_all(_overloads(f"conv{n}d", "default", "padding"), window="convolution", positions=n),
        **_all(transposed, window="transposed convolution", positions=n),
        **_all(_overloads(f"max_pool{n}d", "default"), window="max", positions=n),
        **_all(_overloads(f"avg_pool{n}d", "default"), window="mean", positions=n),
        **_all(_overloads(adaptive, "default"), window="adaptive mean", positions=n),
        **_all(_overloads(resampling, "default", "vec"), window="resample", positions=n),
    }


_MOVING = {
    **_all(_overloads("view _unsafe_view", "default"), moves="reshape", strides="fit"),
    **_all(_overloads("reshape unsqueeze squeeze", "default", "dim", "dims"), moves="reshape"),
    **_all([aten.flatten.using_ints, aten.unflatten.int], moves="reshape"),
    **_all([aten.permute.default, aten.transpose.int, aten.t.default], moves="permute"),
    **_all([aten.slice.Tensor, aten.select.int], moves="part"),
    **_all([aten.expand.default], moves="repeat"),
    **_all(_overloads("clone contiguous detach alias lift_fresh_copy", "default"), moves="copy", elementwise=1,
           keeps_zero=True),
    **_all([aten._to_copy.default, aten.to.dtype], moves="copy", casts=True, elementwise=1, keeps_zero=True),
    **_all([aten.type_as.default], moves="copy", casts=True),
    **_all([aten.gather.default, aten.index_select.default, aten.index.Tensor], moves="pick"),
    **_all([aten.as_strided.default, aten.view_as_complex.default, aten.view.dtype], strides="read"),
    **_all([aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.chunk.default,
            aten.tensor_split.sections], splits=True),
}  # fmt: skip
_ELEMENTWISE = {
    **_all(_overloads("relu relu6 abs square sqrt", "default"), elementwise=1, keeps_zero=True, not_negative=True),
    **_all(_overloads("gelu silu tanh neg erf sin log1p expm1 hardswish leaky_relu elu mish selu sign floor ceil round",
                      "default"), elementwise=1, keeps_zero=True),
    **_all(_overloads("sigmoid exp softplus hardsigmoid", "default"), elementwise=1, not_negative=True),
    **_all(_overloads("rsqrt reciprocal cos clamp clamp_min clamp_max hardtanh dropout isnan isinf "
                      "logical_not bitwise_not", "default"), elementwise=1),
    **_all(_overloads("add sub mul div rsub eq ne lt le gt ge where", "Scalar"), elementwise=1),
    **_all([aten.pow.Tensor_Scalar], elementwise=1),
    **_all(_overloads("add sub mul div rsub eq ne lt le gt ge", "Tensor"), elementwise=2),
    **_all(_overloads("maximum minimum logical_xor", "default"), elementwise=2),
    **_all([aten.pow.Tensor_Tensor, aten.bitwise_xor.Tensor, aten.lerp.Scalar, aten.masked_fill.Scalar,
            aten.where.ScalarOther, aten.where.ScalarSelf], elementwise=2),
    **_all([aten.where.self, aten.masked_fill.Tensor, aten.addcmul.default, aten.addcdiv.default], elementwise=3),
    **_all([aten.__and__.Tensor, aten.bitwise_and.Tensor, aten.logical_and.default], elementwise=2, logic="and"),
    **_all([aten.__or__.Tensor, aten.bitwise_or.Tensor, aten.logical_or.default], elementwise=2, logic="or"),
}  # fmt: skip
_FILLED = {
    **_all([aten.zeros.default, aten.new_zeros.default], fills=0.0),
    **_all([aten.ones.default, aten.new_ones.default], fills=1.0),
    **_all([aten.full.default, aten.new_full.default], fills="fill_value"),
    **_all([aten.zeros_like.default], fills=0.0, elementwise=1),
    **_all([aten.ones_like.default], fills=1.0, elementwise=1),
    **_all([aten.full_like.default], fills="fill_value", elementwise=1),
}
_SUMS = {
    **_all([aten.matmul.default, aten.bmm.default, aten.mm.default], matrix_product=True),
    **_all([aten.sum.dim_IntList], reduces="sum"),
    **_all([aten.mean.dim], reduces="mean"),
    **_all([aten.amax.default], reduces="max"),
    **_all([aten.amin.default], reduces="min"),
    **_all(_overloads("sum mean argmax argmin logsumexp", "default"), reduces="other"),
    **_all([aten.any.dim, aten.all.dim, aten.prod.dim_int, aten.var.correction, aten.std.correction], reduces="other"),
    **_all([aten.softmax.int, aten._softmax.default, aten.log_softmax.int, aten._log_softmax.default,
            aten.cumsum.default], mixes=True),
}  # fmt: skip
_TABLE: dict[OpOverload, OperatorFacts] = {
    **_MOVING, **_ELEMENTWISE, **_FILLED, **_over_windows(1), **_over_windows(2), **_over_windows(3), **_SUMS,
}  # fmt: skip
