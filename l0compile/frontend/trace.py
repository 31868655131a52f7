"""Exporting a model, with the values of constants if branches or sizes depend on values."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from l0compile.errors import CaptureError
from l0compile.frontend.diagnose import decides_by_values, explain
from l0compile.frontend.dynamic_shapes import ExampleCall
from l0compile.frontend.known_values import KnownValues, known_values


def trace(model: nn.Module, call: ExampleCall, shapes: Any) -> ExportedProgram:
    """Export ``model``; constants decide branches and sizes during tracing.

    Args:
        model: The model.
        call: Example arguments.
        shapes: Dynamic shapes in torch.export's format.

    Raises:
        CaptureError: A branch or a size depends on an input, or on a buffer that the model changes.
        Exception: Tracing runs the user's code, which may raise anything else.
    """
    exported = None
    try:
        with _without_graphs():
            exported = torch.export.export(model, call.args, call.kwargs, dynamic_shapes=shapes)
    except Exception as error:  # the user's code: anything can come out of it
        if not decides_by_values(error):
            raise
    if exported is not None and not _depends_on_values(exported):
        return exported
    return _with_values(model, call, shapes, exported)


@contextmanager
def _without_graphs() -> Iterator[None]:
    """Hide the graph that torch.export prints if it depends on values: another attempt or an error follows."""
    log = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    level, printed = log.level, io.StringIO()
    log.setLevel(logging.ERROR)
    try:
        with redirect_stderr(printed):
            yield
    except Exception as error:
        if not decides_by_values(error):
            sys.stderr.write(printed.getvalue())
        raise
    else:
        sys.stderr.write(printed.getvalue())
    finally:
        log.setLevel(level)


def _with_values(
    model: nn.Module, call: ExampleCall, shapes: Any, first: ExportedProgram | None
) -> ExportedProgram:
    def names(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        return ExampleCall(call.signature, args, kwargs).arguments

    with known_values(model, names) as known:
        try:
            with _without_graphs():
                exported = torch.export.export(model, call.args, call.kwargs, dynamic_shapes=shapes)
        except Exception as error:  # as above
            if first is not None:
                return first
            raise explain(model, error, _culprit(known)) from None
    if known.read:
        exported = exported.run_decompositions({})  # tells which buffers are changed
        _refuse_state(exported, known)
    return exported


def _depends_on_values(exported: ExportedProgram) -> bool:
    values = (node.meta.get("val") for node in exported.graph.nodes)
    kinds = (torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool)
    return any(
        isinstance(leaf, kinds) and free_unbacked_symbols(leaf)
        for value in values
        for leaf in pytree.tree_leaves(value)
    )


def _culprit(known: KnownValues) -> str:
    if known.blame is None:
        return ""
    function, sources = known.blame
    return f"{function}() of values that depend on {', '.join(sources) or 'what is not known'}: "


def _refuse_state(exported: ExportedProgram, known: KnownValues) -> None:
    specs = exported.graph_signature.output_specs
    changed = {str(spec.target) for spec in specs if spec.kind is OutputKind.BUFFER_MUTATION}
    if changed & known.read:
        raise CaptureError(
            f"capture: {', '.join(sorted(changed & known.read))}: expected branches and sizes that follow from "
            "constants and sizes of inputs, got one that depends on a buffer which forward() changes. What to do: "
            "pass the value as a Python argument"
        )
