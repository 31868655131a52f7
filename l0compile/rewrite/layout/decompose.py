"""Record what an operator is made of, on fake tensors, in place of the operator."""

import operator
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from l0compile.errors import RewriteError
from l0compile.ir.editor import Editor
from l0compile.ir.operator_facts import operators
from l0compile.ir.program import Program
from l0compile.rewrite.layout.decompositions import DECOMPOSITIONS, HAVE_KERNELS
from l0compile.rewrite.layout.own_formulas import OWN_FORMULAS
from l0compile.rewrite.size_nodes import SizeNodes

aten = torch.ops.aten


def decompose(
    program: Program, with_kernels: bool = True, has_kernel: Callable[[fx.Node], bool] | None = None
) -> Program:
    """Replace operators that have no lowering of their own by what they are made of.

    Rewrite: op(x, ...) -> what its decomposition computes instead, recorded on shapes alone, until no operator of the
        table is left.
    Checks: recording took nothing for granted about symbolic sizes; else the operator stays.

    Args:
        program: in any layout.
        with_kernels: also norms, attention and hardswish, which kernels in the packed layout may compute.
        has_kernel: whether a kernel takes a node, where operators of ours may have none; those are written out too.

    Returns:
        The program, itself when it has none of these operators.
    """
    editor = Editor(program)
    left = () if with_kernels else HAVE_KERNELS
    for node in list(editor.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in DECOMPOSITIONS and node.target not in left:
            _decompose(editor, node, DECOMPOSITIONS[node.target])
        elif has_kernel is not None and node.target in OWN_FORMULAS and not has_kernel(node):
            _decompose(editor, node, OWN_FORMULAS[node.target])
    return editor.finish()


def _decompose(editor: Editor, node: fx.Node, formula: Callable[..., Any]) -> None:
    mode = next((v.fake_mode for v in _values(node) if isinstance(v, FakeTensor)), None)
    if mode is None or (isinstance(node.meta["val"], tuple) and not all(map(_is_getitem, node.users))):
        return
    recorder = _OperatorRecorder(editor, node)
    args, kwargs = fx.map_arg((node.args, node.kwargs), recorder.stand_in)
    before = _guards(mode)
    try:
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(mode)
            stack.enter_context(recorder)
            result = formula(*args, **kwargs)
        results = pytree.tree_map(recorder.node_of, result)
    except (RewriteError, NotImplementedError):
        recorder.undo()
        return
    if _guards(mode) != before:
        recorder.undo()
        return
    _replace(editor, node, results)


def _replace(editor: Editor, node: fx.Node, results: Any) -> None:
    if isinstance(results, fx.Node):
        editor.replace(node, results)
        return
    for user in list(node.users):
        editor.replace(user, results[user.args[1]])
    if not node.users:
        editor.graph.erase_node(node)


class _OperatorRecorder(TorchDispatchMode):
    """While active, writes every operator that runs as a node before ``node``."""

    def __init__(self, editor: Editor, node: fx.Node) -> None:
        super().__init__()
        self.editor, self.node, self.sizes = editor, node, SizeNodes(editor)
        self.nodes: dict[int, fx.Node] = {}
        self.alive: list[Any] = []  # an id is only unique while its object lives
        self.made: list[fx.Node] = []

    def stand_in(self, argument: fx.Node) -> Any:
        value = argument.meta["val"]
        if not isinstance(value, torch.Tensor):
            return value
        fresh = value.detach()
        self._bind(fresh, argument)
        return fresh

    def node_of(self, value: Any) -> fx.Node:
        if id(value) not in self.nodes:
            raise RewriteError(
                f"{self.node.name}: its decomposition gives a result that no recorded operator computed"
            )
        return self.nodes[id(value)]

    def undo(self) -> None:
        for made in reversed(self.made):
            if not made.users:
                self.editor.graph.erase_node(made)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        further = DECOMPOSITIONS.get(func)
        if further is not None:
            with self:
                return further(*args, **kwargs)
        if func._schema.is_mutable:
            raise RewriteError(f"{self.node.name}: its decomposition changes an operand")
        result = func(*args, **kwargs)
        leaves = pytree.tree_leaves(result)
        if not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
            return result
        # A view fits the strides of the recorded operands; at run time operands may have others.
        func = aten.reshape.default if func in operators(strides="fit") else func
        call = self.editor.call(func, self._nodes(args), before=self.node, kwargs=self._nodes(kwargs))
        call.meta["val"] = result
        self.made.append(call)
        if isinstance(result, torch.Tensor):
            self._bind(result, call)
            return result
        for position, leaf in enumerate(leaves):
            item = self.editor.call(operator.getitem, (call, position), before=self.node)
            item.meta["val"] = leaf
            self.made.append(item)
            self._bind(leaf, item)
        return result

    def _bind(self, value: Any, node: fx.Node) -> None:
        self.nodes[id(value)] = node
        self.alive.append(value)

    def _nodes(self, arguments: Any) -> Any:
        def leaf(value: Any) -> Any:
            if isinstance(value, torch.SymInt):
                return self.sizes.of(value)
            if isinstance(value, torch.SymFloat | torch.SymBool):
                raise RewriteError(
                    f"{self.node.name}: its decomposition computes a number from sizes that is no integer"
                )
            return self.node_of(value) if isinstance(value, torch.Tensor) else value

        return pytree.tree_map(leaf, arguments)


def _values(node: fx.Node) -> list[Any]:
    sources = [source.meta.get("val") for source in node.all_input_nodes]
    return [*sources, *pytree.tree_leaves(node.meta["val"])]


def _is_getitem(user: fx.Node) -> bool:
    return user.op == "call_function" and user.target is operator.getitem


def _guards(mode: FakeTensorMode) -> int:
    return len(mode.shape_env.guards) if mode.shape_env is not None else 0
