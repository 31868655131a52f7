"""The node that torch.export leaves for ``flex_attention``, read into its parts."""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from l0compile.errors import CaptureError
from l0compile.frontend.flex.mod import PLACE, Mod
from l0compile.frontend.operators import where

_LISTS = slice(2, 6)
"""Where kv_num_blocks, kv_indices, full_kv_num_blocks and full_kv_indices stand in the tuple of a BlockMask."""


@dataclass(frozen=True, eq=False)
class FlexCall:
    """One call of flex_attention; nodes are of the graph that is being made.

    Attributes:
        query, key, value: [B, heads, S, D] nodes; key and value may have fewer heads, and one batch for all.
        score_mod: a function of the score and its place.
        mask_mod: a function of the place.
        lists: kv_num_blocks, kv_indices, full_kv_num_blocks and full_kv_indices; nodes or None.
        q_block, k_block: the sizes of the blocks in ``lists``.
        scale: factor on the products of queries and keys.
        source: the node of the exported graph.
    """

    query: fx.Node
    key: fx.Node
    value: fx.Node
    score_mod: Mod
    mask_mod: Mod
    lists: tuple[fx.Node | None, ...]
    q_block: int
    k_block: int
    scale: float
    source: fx.Node

    @property
    def where(self) -> str:
        """The module of the user's code."""
        return where(self.source)

    def result_is_read(self, number: int) -> bool:
        """Whether the model reads one of (output, log2 of the sum of exponentials, largest scores)."""
        return any(
            user.target is operator.getitem and user.args[1] == number and user.users
            for user in self.source.users
        )


def is_flex_attention(node: fx.Node) -> bool:
    """Return whether a node of an exported graph is a call of flex_attention."""
    return node.op == "call_function" and getattr(node.target, "_name", "") == "flex_attention"


def read_call(
    node: fx.Node,
    module: torch.nn.Module,
    mapped: dict[fx.Node, Any],
    constant: Callable[[str, torch.Tensor], fx.Node],
) -> FlexCall:
    """Read a node of the graph of ``module``.

    Args:
        node: a call of flex_attention.
        module: holds the traced functions.
        mapped: node of its graph -> the copy in the graph that is being made.
        constant: adds a tensor that a traced function holds to the constants.

    Raises:
        CaptureError: The call has another form than those of PyTorch 2.13.
    """
    given: Any = node.args
    if len(given) < 9 or not isinstance(given[4], tuple | list) or len(given[4]) < 9:
        raise CaptureError(
            f"capture: {where(node)}: expected flex_attention as PyTorch 2.13 exports it, got {len(given)} arguments "
            f"with a block mask of {len(given[4]) if len(given) > 4 else 0} items. What to do: use PyTorch 2.13"
        )
    query, key, value, score, mask, scale, _, score_buffers, mask_buffers = given[:9]

    def here(argument: Any) -> Any:
        return mapped[argument] if isinstance(argument, fx.Node) else argument

    # The length of the tuple differs between versions of PyTorch; its ends do not.
    *_, q_block, k_block, mask_graph = mask

    def read(graph: fx.Node, names: tuple[str, ...], buffers: Any) -> Mod:
        copied = _without_tensors(getattr(module, str(graph.target)), constant)
        return Mod(copied[0], names, (*map(here, buffers), *copied[1]))

    return FlexCall(
        here(query),
        here(key),
        here(value),
        read(score, ("score", *PLACE), score_buffers),
        read(mask_graph, PLACE, mask_buffers),
        tuple(here(item) for item in mask[_LISTS]),
        int(q_block),
        int(k_block),
        float(scale),
        node,
    )


def _without_tensors(
    module: fx.GraphModule, constant: Callable[[str, torch.Tensor], fx.Node]
) -> tuple[fx.GraphModule, list[fx.Node]]:
    """A copy whose own tensors are further inputs, and the constants for these."""
    graph, made, added = fx.Graph(), dict[fx.Node, fx.Node](), list[fx.Node]()
    inputs = module.graph.find_nodes(op="placeholder")
    held = [node for node in module.graph.find_nodes(op="get_attr") if node.users]
    for node in inputs:
        made[node] = graph.node_copy(node)
    for node in held:
        tensor: Any = module
        for part in str(node.target).split("."):
            tensor = getattr(tensor, part)
        made[node] = graph.placeholder(node.name)
        added.append(constant(node.name, tensor))
    for node in module.graph.nodes:
        if node.op not in ("placeholder", "get_attr"):
            made[node] = graph.node_copy(node, lambda old: made[old])
    return fx.GraphModule({}, graph), added
