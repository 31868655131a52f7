"""Shape inference: run the graph on fake tensors and note each result in ``node.meta["val"]``."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental import _config

from l0compile.capture.program import Program
from l0compile.errors import RewriteError


def infer_shapes(program: Program) -> None:
    """Recompute ``meta["val"]`` of every node from the placeholders' values, in place.

    Sizes stay symbolic; no guard is added to the symbols' environment.

    Raises:
        RewriteError: an operator does not accept the shapes that reach it; names the node.
    """
    mode = _fake_mode(program)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(mode)
        if mode.shape_env is not None:
            stack.enter_context(mode.shape_env.suppress_guards())
            # Else a derived size that happens to be 1 for the example (the number of token tiles) becomes the
            # constant 1.
            stack.enter_context(_config.patch(backed_size_oblivious=True))  # type: ignore[attr-defined]
        for node in program.graph.nodes:
            _infer(node, program, mode)


def _fake_mode(program: Program) -> FakeTensorMode:
    for node in program.placeholders:
        value = node.meta.get("val")
        if isinstance(value, FakeTensor):
            return value.fake_mode
    return FakeTensorMode(allow_non_fake_inputs=True)


def _infer(node: fx.Node, program: Program, mode: FakeTensorMode) -> None:
    if node.op == "placeholder":
        return
    if node.op == "get_attr":
        node.meta["val"] = mode.from_tensor(program.constants[str(node.target)], static_shapes=True)
        return
    args = fx.map_arg(node.args, _value)
    if node.op == "output":
        node.meta["val"] = args[0]
        return
    kwargs = fx.map_arg(node.kwargs, _value)
    assert callable(node.target)
    try:
        node.meta["val"] = node.target(*args, **kwargs)
    except Exception as error:
        shapes = [tuple(value.shape) for value in args if isinstance(value, torch.Tensor)]
        raise RewriteError(
            f"{node.name} ({node.target}): does not accept inputs of shapes {shapes}: {error}. "
            "The graph is inconsistent here; a pass that changed a neighbour is at fault"
        ) from error


def _value(node: fx.Node) -> Any:
    return node.meta["val"]
