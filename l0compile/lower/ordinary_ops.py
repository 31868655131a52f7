"""ATen operators outside our kernels: TVM's importer, and a few conversions of ours where it is unsafe or lacking."""

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from l0compile._tvm import relax, te, tirx
from l0compile.errors import BuildError

aten = torch.ops.aten


def convert_ordinary(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    """The relax expression for ``node`` with result ``shape``; operands are looked up in ``importer.env``.

    Raises: BuildError when neither we nor the importer have a conversion.
    """
    if node.kwargs.get("alpha", 1) != 1:
        raise BuildError(
            f"{node.name}: {node.target} with alpha={node.kwargs['alpha']} on operands of different types, which TVM "
            "ignores; write the product in the model"
        )
    own = _CONVERSIONS.get(node.target)
    if own is not None:
        return own(node, importer, shape)
    name = getattr(node.target, "__name__", str(node.target))
    if name not in importer.convert_map:
        raise BuildError(
            f"{node.name}: no kernel and no TVM conversion for operator {node.target}; "
            "replace it in the model, or compile the part of the model without it"
        )
    return importer.convert_map[name](node)


def _embedding(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    """Row gather with the index clamped to the table: TVM's own ``take`` reads out of bounds and crashes.

    Indices that come from the caller are checked before the call (see runtime.inputs), so clamping never shows.
    """
    table, indices = (importer.env[a] for a in node.args[:2])

    def gather(t: Any, i: Any) -> Any:
        rows = t.shape[0]

        def element(*axes: Any) -> Any:
            index = tirx.Cast("int64", i(*axes[:-1]))
            return t(
                tirx.max(tirx.min(index, tirx.Cast("int64", rows) - 1), tirx.const(0, "int64")), axes[-1]
            )

        return te.compute((*i.shape, t.shape[1]), element, name="embedding")

    return importer.block_builder.emit_te(gather, table, indices, primfunc_name_hint="embedding")


def _to_copy(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    dtype = node.kwargs.get("dtype") or node.meta["val"].dtype
    value = importer.env[node.args[0]]
    return importer.block_builder.emit(relax.op.astype(value, str(dtype).removeprefix("torch.")))


def _arange(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    """start + i: the importer ignores symbolic ends."""
    value = node.meta["val"]
    args = importer.retrieve_args(node)
    start, step = (args[0] if len(args) > 1 else 0), (args[2] if len(args) > 2 else 1)
    dtype = str(value.dtype).removeprefix("torch.")
    length = args[1] - args[0] if len(args) > 1 else args[0]
    length = length if step == 1 else (length + step - 1) // step
    bb = importer.block_builder
    return bb.emit_te(
        lambda: te.compute(
            (length,), lambda i: (tirx.Cast(dtype, i) * step + start).astype(dtype), name="arange"
        ),
        primfunc_name_hint="arange",
    )


def _slice(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    """x[start + i * step]: TVM's own symbolic slice has a shape that crashes its fusion pass."""
    args = importer.retrieve_args(node)
    x, axis, start, step = (
        args[0],
        (args[1:2] or (0,))[0],
        (args[2:3] or (None,))[0] or 0,
        (args[4:5] or (1,))[0],
    )
    axis %= len(shape)

    def gather(t: Any) -> Any:
        first = start + t.shape[axis] if isinstance(start, int) and start < 0 else start
        return te.compute(
            tuple(shape),
            lambda *i: t(*(first + value * step if d == axis else value for d, value in enumerate(i))),
            name="slice",
        )

    return importer.block_builder.emit_te(gather, x, primfunc_name_hint="slice")


def _select(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    """x[..., index, ...]: TVM's own reads before the start of the tensor where the index counts from the end."""
    x, axis, index = importer.retrieve_args(node)
    axis %= len(shape) + 1

    def pick(t: Any) -> Any:
        at = index + t.shape[axis] if isinstance(index, int) and index < 0 else index
        return te.compute(tuple(shape), lambda *i: t(*i[:axis], at, *i[axis:]), name="select")

    return importer.block_builder.emit_te(pick, x, primfunc_name_hint="select")


def _vector_norm(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    args = importer.retrieve_args(node)
    order = args[1] if len(args) > 1 else 2.0
    if order != 2:
        raise BuildError(f"{node.name}: linalg.vector_norm of order {order}: only order 2 is supported")
    axes, keep = (args[2] if len(args) > 2 else None), (args[3] if len(args) > 3 else False)
    bb, x = importer.block_builder, args[0]
    return bb.emit(relax.op.sqrt(bb.emit(relax.op.sum(bb.emit(relax.op.multiply(x, x)), axes, keep))))


def _clamp_min(node: fx.Node, importer: Any, shape: list[Any]) -> Any:
    x, low = importer.retrieve_args(node)[:2]
    return importer.block_builder.emit(
        relax.op.maximum(x, relax.const(low, str(node.meta["val"].dtype).removeprefix("torch.")))
    )


_CONVERSIONS: dict[Any, Callable[[fx.Node, Any, list[Any]], Any]] = {
    aten.embedding.default: _embedding,
    aten._to_copy.default: _to_copy,
    aten.slice.Tensor: _slice,
    aten.select.int: _select,
    aten.arange.default: _arange,
    aten.arange.start: _arange,
    aten.arange.start_step: _arange,
    aten.linalg_vector_norm.default: _vector_norm,
    aten.clamp_min.default: _clamp_min,
}
