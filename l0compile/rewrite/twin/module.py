"""``compact``: a model with zeros in it -> a smaller, dense, trainable module."""

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo

from l0compile.errors import RewriteError
from l0compile.frontend.dense_tensors import dense_weights
from l0compile.frontend.export import capture
from l0compile.hardware.process import denormals_kept
from l0compile.ir.conditions import Condition
from l0compile.ir.modules import hold
from l0compile.ir.program import Program
from l0compile.ir.structure import Fixed, SizeOf, Structure
from l0compile.rewrite.pipeline import compact as compact_program
from l0compile.rewrite.runner import run
from l0compile.rewrite.twin.names import original_names, source_of, tied
from l0compile.rewrite.twin.plain_operators import plain_operators
from l0compile.rewrite.twin.python_calls import python_calls

_ARITHMETIC = {
    "+": operator.add, "*": operator.mul, "**": operator.pow, "//": operator.floordiv, "%": operator.mod,
    "min": torch.sym_min, "max": torch.sym_max,
}  # fmt: skip


@denormals_kept()
def compact(
    model: nn.Module | ExportedProgram,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
) -> fx.GraphModule:
    """The model without its dead channels, heads and layers, as ordinary PyTorch.

    The result is a graph of ATen operators that computes what ``model`` does in eval mode (dropout is gone) and is
    called as in the example. Its parameters are copies, have the names they have in ``model`` and the ``requires_grad``
    they have there; tied parameters stay tied where they still hold the same values. It can be trained, exported with
    ``torch.export``, ``torch.jit.trace`` and ``torch.onnx.export`` in both ways (with ``dynamo=False`` and
    ``dynamic_axes`` give ``input_names`` and ``output_names``: for a module with a graph that exporter asks for both),
    and given to :func:`l0compile.compile`. Zeros that free no whole channel are still in the weights, and training
    fills them again.

    Args:
        model: as for :func:`l0compile.compile`.
        args: as for :func:`l0compile.compile`.
        kwargs: as for :func:`l0compile.compile`.
        dynamic_shapes: as for :func:`l0compile.compile`.

    Raises:
        CaptureError: the model cannot be exported.
        RewriteError: a rewrite failed.
    """
    with dense_weights(model):
        program = capture(model, args, kwargs, dynamic_shapes=dynamic_shapes)
        program = run(compact_program(program), [plain_operators])
        return _module(program, model)


def _module(program: Program, model: nn.Module | ExportedProgram) -> fx.GraphModule:
    parameters, buffers = _tensors(model)
    names = original_names(program.constants, [*parameters, *buffers])
    root = nn.Module()
    for constant, name in names.items():
        hold(root, name, _copy(program.constants[constant], parameters.get(source_of(constant, parameters))))
    result = fx.GraphModule(root, _graph(program, names), class_name="Compacted")
    _tie(result, {**parameters, **buffers}, {name: program.constants[c] for c, name in names.items()})
    return result.eval()


def _tensors(model: nn.Module | ExportedProgram) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    if isinstance(model, ExportedProgram):
        parameters: dict[str, torch.Tensor] = dict(model.named_parameters())
        return parameters, dict(model.named_buffers())
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return parameters, dict(model.named_buffers(remove_duplicate=False))


def _copy(constant: torch.Tensor, source: torch.Tensor | None) -> torch.Tensor:
    """A parameter where ``source``, the tensor of the model that it comes from, is one; else a buffer."""
    if source is None or not constant.dtype.is_floating_point:
        return constant.clone()
    return nn.Parameter(constant.clone(), requires_grad=source.requires_grad)


def _graph(program: Program, names: Mapping[str, str]) -> fx.Graph:
    graph = python_calls(_with_values(program))
    for node in graph.find_nodes(op="get_attr"):
        node.target = names[str(node.target)]
    positional, keywords = program.in_spec.child(0).num_children, program.in_spec.child(1).context or []
    arguments, results = [*_argument_names(program, positional), *keywords], Structure(program.out_spec)
    graph._codegen = _PyTreeCodeGen(_PyTreeInfo(arguments, Structure(program.in_spec).plain, results.plain))
    return graph


def _with_values(program: Program) -> fx.Graph:
    """The graph with an input for each argument, and a result for each part, that is no tensor."""
    graph, _ = program.edit()
    arguments, results = Structure(program.in_spec), Structure(program.out_spec)
    tensors = iter(graph.find_nodes(op="placeholder"))
    first = next(iter(graph.nodes))
    for position in range(arguments.plain.num_leaves):
        if position in arguments.values:
            with graph.inserting_before(first):
                graph.placeholder(f"fixed_{position}")
        else:
            first = next(tensors).next
    output = next(iter(reversed(graph.nodes)))
    computed = iter(list(output.args[0]))
    with graph.inserting_before(output):
        leaves = [
            _value(graph, results.values[position], program) if position in results.values else next(computed)
            for position in range(results.plain.num_leaves)
        ]
    output.args = (tuple(leaves),)
    return graph


def _value(graph: fx.Graph, value: Fixed | SizeOf, program: Program) -> Any:
    return value.value if isinstance(value, Fixed) else _size(graph, value.expression, program)


def _size(graph: fx.Graph, expression: Condition, program: Program) -> Any:
    """``expression`` in operators on sizes, at the insertion point of ``graph``."""
    if isinstance(expression, int | float):
        return expression
    if isinstance(expression, str):
        name, axis = _dimension(program, expression)
        source = next(node for node in graph.find_nodes(op="placeholder") if node.name == name)
        return graph.call_function(torch.ops.aten.sym_size.int, (source, axis))
    operands = [_size(graph, operand, program) for operand in expression[1:]]
    return reduce(
        lambda left, right: graph.call_function(_ARITHMETIC[expression[0]], (left, right)), operands
    )


def _dimension(program: Program, symbol: str) -> tuple[str, int]:
    for node in program.placeholders:
        for axis, size in enumerate(node.meta["val"].shape):
            if str(size) == symbol:
                return node.name, axis
    raise RewriteError(f"compact: no input has the size {symbol} that a result is made of")


def _argument_names(program: Program, count: int) -> list[str]:
    """Names of the positional arguments: the input's own where an argument is one tensor."""
    leaves = iter(program.placeholders)
    names = []
    for position in range(count):
        child = program.in_spec.child(0).child(position)
        inputs = [next(leaves) for _ in range(child.num_leaves)]  # values in the structure are no leaves
        names.append(str(inputs[0].target) if child.is_leaf() else f"arg_{position}")
    return names


def _tie(result: nn.Module, model: Mapping[str, torch.Tensor], kept: Mapping[str, torch.Tensor]) -> None:
    """Give a tensor that is still the model's own all the names it has there."""
    same = tied(model)
    for name, constant in kept.items():
        if name in same and constant.data_ptr() == model[name].data_ptr():
            for other in same[name]:
                if other not in kept:
                    hold(result, other, result.get_parameter(name))
