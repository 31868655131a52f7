"""Infer shapes: run the graph on fake tensors and store each result in ``node.meta["val"]``."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental import _config
from torch.utils import _pytree as pytree

from l0compile.errors import RewriteError
from l0compile.ir.nodes import is_static, same_size
from l0compile.ir.program import Program

_PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    type(None),
)


def infer_shapes(program: Program) -> None:
    """Bring ``meta["val"]`` of every node up to date, in place, from the values of the placeholders.

    Nodes whose operator and inputs are the same as at the last inference are skipped. Sizes stay symbolic, and no guard
    is added to their environment.

    Raises:
        RewriteError: an operator does not accept the shapes of its inputs; the message names the node.
    """
    mode = _fake_mode(program)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        # Without it an operator made of others (lstm) runs C++ code that cannot handle symbolic sizes.
        stack.enter_context(enable_python_dispatcher())
        stack.enter_context(mode)
        if mode.shape_env is not None:
            stack.enter_context(mode.shape_env.suppress_guards())
            # Without it a derived size that is 1 for the example (the number of token tiles) becomes the constant 1.
            stack.enter_context(_config.patch(backed_size_oblivious=True))
        for node in program.graph.nodes:
            _infer(node, program, mode)


def take_as_inferred(program: Program) -> None:
    """Mark the values that the nodes of ``program`` carry as what an inference from their inputs would give.

    Constants are left out: their values, and those of the nodes after them, are inferred where they are not alike.
    """
    for node in program.graph.nodes:
        known = all("val" in other.meta for other in (node, *node.all_input_nodes))
        if node.op == "call_function" and known and node.meta["val"] is not None:
            node.meta["inferred_from"] = _InferredFrom.of(node, program)


def _fake_mode(program: Program) -> FakeTensorMode:
    for node in program.placeholders:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            return value.fake_mode
    return FakeTensorMode(allow_non_fake_inputs=True)


def _infer(node: fx.Node, program: Program, mode: FakeTensorMode) -> None:
    if node.op == "placeholder":
        return
    if node.op == "output":
        node.meta["val"] = fx.map_arg(node.args[0], _value)
        return
    inputs = _InferredFrom.of(node, program)
    if node.meta.get("val") is not None and inputs.same(node.meta.get("inferred_from")):
        return
    value = _evaluate(node, inputs, mode)
    if not _alike(node.meta.get("val"), value):
        node.meta["val"] = value
    # Keeping an equal old value lets the nodes after this one be skipped as well.
    node.meta["inferred_from"] = inputs


@dataclass(frozen=True)
class _InferredFrom:
    """What the value of a node was computed from. Passes copy graphs, and most nodes stay as they are."""

    target: Any
    leaves: tuple[Any, ...]
    spec: pytree.TreeSpec

    @staticmethod
    def of(node: fx.Node, program: Program) -> "_InferredFrom":
        if node.op == "get_attr":
            args: Any = program.constants[str(node.target)]
        else:
            args = (fx.map_arg(node.args, _value), fx.map_arg(node.kwargs, _value))
        leaves, spec = pytree.tree_flatten(args)
        return _InferredFrom(node.target, tuple(leaves), spec)

    def same(self, other: "_InferredFrom | None") -> bool:
        """Whether the value is certainly the same; sizes are compared by identity, which adds no guard."""
        if other is None or self.target != other.target or self.spec != other.spec:
            return False
        return all(
            mine is theirs or (isinstance(mine, _PLAIN) and type(mine) is type(theirs) and mine == theirs)
            for mine, theirs in zip(self.leaves, other.leaves, strict=True)
        )


def _evaluate(node: fx.Node, inputs: _InferredFrom, mode: FakeTensorMode) -> Any:
    if node.op == "get_attr":
        return mode.from_tensor(inputs.leaves[0], static_shapes=True)
    args, kwargs = pytree.tree_unflatten(inputs.leaves, inputs.spec)
    compute = _shapes_of(node.target)
    try:
        return compute(*args, **kwargs)
    except Exception as error:
        shapes = [tuple(value.shape) for value in args if isinstance(value, torch.Tensor)]
        raise RewriteError(
            f"{node.name} ({node.target}): does not accept inputs of shapes {shapes}: {error}. "
            "The pass that changed a neighbour made the graph inconsistent here"
        ) from error


def _shapes_of(target: Any) -> Callable[..., Any]:
    """Return what computes the result of an operator on fake tensors.

    For our own operators that is what they registered, which PyTorch's dispatcher takes several times as long to find.
    """
    if isinstance(target, torch._ops.OpOverload) and target.namespace == "l0compile":
        registered = torch._library.simple_registry.singleton.find(target._schema.name).fake_impl.kernel
        if registered is not None:
            return registered.func
    assert callable(target)
    return target


def _alike(old: Any, new: Any) -> bool:
    """Whether an old value can stay: torch keeps an input's size that turned out to be 8 as a symbol equal to 8."""
    if isinstance(old, FakeTensor) and isinstance(new, FakeTensor):
        if (old.dtype, old.device) != (new.dtype, new.device):
            return False
        old_sizes, new_sizes = (*old.shape, *old.stride()), (*new.shape, *new.stride())
        return len(old_sizes) == len(new_sizes) and all(map(_alike, old_sizes, new_sizes))
    sizes = (int, torch.SymInt)
    if not isinstance(old, sizes) or not isinstance(new, sizes):
        return False
    return is_static(old) == is_static(new) and same_size(old, new)


def _value(node: fx.Node) -> Any:
    return node.meta["val"]
