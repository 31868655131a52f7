"""The backend function: what it compiles, what it refuses, and what it leaves to PyTorch."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from l0compile.compiler.dynamo.compiled_graph import CompiledGraph
from l0compile.compiler.dynamo.inputs import read_inputs
from l0compile.compiler.dynamo.options import read_options
from l0compile.compiler.dynamo.outputs import changed_in_place, read_outputs, storage_of
from l0compile.compiler.dynamo.training import is_training, refuse_training, warn_of_training
from l0compile.errors import BuildError, CaptureError, RewriteError

_log = logging.getLogger("l0compile")


def backend(
    graph_module: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Compile one graph for inference; PyTorch calls this for every graph that it finds in a model.

    Parameters and buffers become constants. A call with others, or with some that were changed in place
    (``load_state_dict``, an optimizer's step), compiles again; a change through ``.data`` goes unseen, as in
    autograd. Symbolic sizes stay symbolic if the graph can be exported with them. Python numbers are constants, and
    the graph is compiled for up to eight sets of them. A result that shares memory with an input or with another
    result is made again as a view.

    PyTorch runs the rest, and ``l0compile`` logs the reason: a graph that changes its inputs, draws random numbers,
    runs under autocast, holds an operator without code, or whose compiled answers differ from its own; and all
    training, which is reported once in a process.

    Args:
        graph_module: as PyTorch passes it.
        example_inputs: as PyTorch passes them.
        options: ``torch.compile``'s: ``target``, ``verify``, ``engine`` and ``threads`` as in
            :func:`l0compile.compile`; ``fallback=False`` raises where PyTorch would take over. Inductor's options are
            accepted, and change nothing.
        mode: one of inductor's, like its options.

    Raises:
        ConfigError: an option or mode that neither this backend nor inductor has.
        CaptureError: with ``fallback=False``: the graph cannot be exported.
        BuildError: with ``fallback=False``: it holds an operator without code.
        RewriteError: with ``fallback=False``: its compiled answers differ from its own.
    """
    chosen = read_options(options, mode)
    if not chosen["fallback"]:
        refuse_training(graph_module, example_inputs)
        return _compiled(graph_module, example_inputs, chosen)
    if is_training(graph_module, example_inputs):
        warn_of_training()
        return graph_module.forward
    try:
        return _compiled(graph_module, example_inputs, chosen)
    except (CaptureError, BuildError, RewriteError) as error:
        _log.warning("one graph runs in PyTorch: %s", error)
        return graph_module.forward


def _compiled(
    graph_module: fx.GraphModule, examples: Sequence[Any], options: Mapping[str, Any]
) -> Callable[..., Any]:
    placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
    if torch.is_autocast_enabled("cpu"):
        raise CaptureError(
            "torch.compile: autocast is on; convert the model with .to(torch.bfloat16) instead"
        )
    # Whatever any operator reads: one that changes a tensor in place matters although nothing reads its result.
    needed = {node for node in placeholders if any(user.op != "output" for user in node.users)}
    outputs = read_outputs(graph_module.graph)
    inputs = read_inputs(placeholders, examples, needed)
    for position, name in inputs.weights.items():
        if changed_in_place(graph_module.graph, storage_of(placeholders[position])):
            raise CaptureError(f"torch.compile: {name}: expected a forward() that leaves buffers alone")
    if not outputs.computed:
        return graph_module.forward  # views and sizes only: nothing to compute
    graph = CompiledGraph(graph_module, inputs, outputs, options)
    graph.prepare(examples)
    return graph
