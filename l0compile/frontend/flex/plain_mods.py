"""Traced score_mods and mask_mods in operators that PyTorch can trace again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from l0compile.frontend.flex.call import is_flex_attention
from l0compile.ir.editor import remove_dead_nodes

aten = torch.ops.aten
_COPIES = (aten.lift_fresh_copy.default, aten.detach_.default, aten.detach.default, aten.lift_fresh.default)


@contextmanager
def plain_mods(exported: ExportedProgram) -> Iterator[None]:
    """In the block, let the functions in calls of flex_attention index tensors by an ordinary operator.

    PyTorch exports ``table[0]`` as an index by a tensor that it has just made, and cannot trace that again.
    """
    module: Any = exported.graph_module
    calls = [node for node in module.graph.nodes if is_flex_attention(node)]
    names = {str(graph.target) for call in calls for graph in (call.args[3], call.args[4][-1])}
    before = {name: getattr(module, name) for name in names}
    try:
        for name, mod in before.items():
            setattr(module, name, _plain(mod))
        yield
    finally:
        for name, mod in before.items():
            setattr(module, name, mod)


def _plain(module: fx.GraphModule) -> fx.GraphModule:
    graph, made = fx.Graph(), dict[fx.Node, Any]()
    for node in module.graph.nodes:
        if node.op == "get_attr" and _is_number(getattr(module, str(node.target), None)):
            number = getattr(module, str(node.target))
            made[node] = graph.call_function(aten.full.default, ([], number.item()), {"dtype": number.dtype})
            made[node].meta.update(node.meta)
        elif node.target in _COPIES and made[node.args[0]].target is aten.full.default:
            made[node] = made[node.args[0]]
        elif getattr(node.target, "_name", "") == "flat_apply" and str(node.args[2]).endswith(".ModIndex"):
            table, *indices = (made[argument] for argument in node.args[3:])
            made[node] = graph.call_function(aten.index.Tensor, (table, indices))
            made[node].meta.update(node.meta)
        else:
            made[node] = graph.node_copy(node, lambda old: made[old])
    remove_dead_nodes(graph)
    return fx.GraphModule(module, graph)


def _is_number(held: Any) -> bool:
    return isinstance(held, torch.Tensor) and held.ndim == 0
