"""Whether an exported graph is functional as it is, so that tracing it once more would change nothing."""

import operator
from typing import Any

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram

aten = torch.ops.aten

# Composite operators that may return their input's own memory. Where nothing is written to, that makes no difference;
# the normal form has all of them.
_MAY_ALIAS = {
    aten.reshape.default,
    aten.contiguous.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.dropout.default,
}
# Operators whose schema says less than they do.
_WRITES = ("aten::batch_norm", "aten::_batch_norm", "aten::instance_norm", "aten::rrelu")
_SIZES = {operator.add, operator.sub, operator.mul, operator.floordiv, operator.getitem}


def is_functional(exported: ExportedProgram) -> bool:
    """No operator writes to memory, and none is one that decomposing would spell out.

    ``run_decompositions({})`` keeps composite operators unless they may alias their inputs, and keeps all others.
    """
    return all(_stays(node.target) for node in exported.graph.nodes if node.op == "call_function")


def _stays(target: Any) -> bool:
    if not isinstance(target, OpOverload):
        return target in _SIZES
    name, schema = target.name(), target._schema
    if schema.is_mutable or name.startswith(_WRITES):
        return False
    if target in _MAY_ALIAS:
        return True
    aliases = any(value.alias_info is not None for value in (*schema.arguments, *schema.returns))
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
    return not (aliases and composite)
