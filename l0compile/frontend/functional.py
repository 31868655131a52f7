"""Exported graphs that are functional already, so that decomposing them would change a few operators at most."""

import operator
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload
from torch.export import ExportedProgram

from l0compile.ir.nodes import arguments

aten = torch.ops.aten

# Composite operators that may return a view of their input. If no operator writes to memory, that makes no difference,
# and the rewrites know all of them.
_MAY_ALIAS = {
    aten.reshape.default,
    aten.contiguous.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.dropout.default,
}
_CASTS = {aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other}
# Operators that write to memory although their schema does not say so.
_WRITES = ("aten::_batch_norm", "aten::instance_norm", "aten::rrelu")
_SIZES = {operator.add, operator.sub, operator.mul, operator.floordiv, operator.getitem}


def is_functional(exported: ExportedProgram) -> bool:
    """Return whether a graph needs no ``run_decompositions({})``.

    No operator may write to memory, and decomposing must change no operator except those that ``plain_copy`` rewrites.
    It decomposes composite operators that may alias their inputs, and keeps all others.
    """
    return all(_stays(node) for node in exported.graph.nodes if node.op == "call_function")


def plain_copy(graph: fx.Graph, node: fx.Node, mapped: dict[fx.Node, Any]) -> fx.Node:
    """Copy ``node`` to the end of ``graph`` as decomposing would write it; ``mapped`` maps inputs to their copies."""
    if node.target in _CASTS:
        source, before, after = mapped[node.args[0]], node.args[0].meta["val"], node.meta["val"]
        if before.dtype == after.dtype:
            return source
        copy = graph.call_function(aten._to_copy.default, (source,), {"dtype": after.dtype})
    elif node.target is aten.expand_as.default:
        sizes = [_size(graph, mapped[node.args[1]], node, axis) for axis in range(node.meta["val"].ndim)]
        copy = graph.call_function(aten.expand.default, (mapped[node.args[0]], sizes))
    else:
        return graph.node_copy(node, lambda old: mapped[old])
    copy.meta.update(node.meta)
    return copy


def _stays(node: fx.Node) -> bool:
    target = node.target
    if not isinstance(target, OpOverload):
        return target in _SIZES
    if target in _CASTS:
        return node.args[0].meta["val"].device == node.meta["val"].device
    if target is aten.batch_norm.default:
        return not arguments(node)["training"]
    name, schema = target.name(), target._schema
    if schema.is_mutable or name.startswith(_WRITES):
        return False
    if target in _MAY_ALIAS or target is aten.expand_as.default:
        return True
    aliases = any(value.alias_info is not None for value in (*schema.arguments, *schema.returns))
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    return not (aliases and composite)


def _size(graph: fx.Graph, like: fx.Node, node: fx.Node, axis: int) -> Any:
    size = node.meta["val"].shape[axis]
    if isinstance(size, int):
        return size
    found = graph.call_function(aten.sym_size.int, (like, axis))
    found.meta["val"] = size
    return found
