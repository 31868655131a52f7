"""nn.Module or ExportedProgram -> Program."""

import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch._guards import CompileContext
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from l0compile.errors import CaptureError
from l0compile.frontend.dense_tensors import dense_weights, refuse_unusual
from l0compile.frontend.diagnose import explain
from l0compile.frontend.dynamic_shapes import DynamicSpec, ExampleCall, enlarged, lookup, read_spec
from l0compile.frontend.example_inputs import check_containers, check_inputs
from l0compile.frontend.exported_program import from_exported_program
from l0compile.frontend.flex.plain_mods import plain_mods
from l0compile.frontend.flex.retrace import forgetting_earlier_calls
from l0compile.frontend.functional import is_functional
from l0compile.frontend.guards import pins_a_rounded_size
from l0compile.frontend.sizes import accept_size_one, drop_needless_conditions, label_symbols
from l0compile.frontend.stale_weights import stale_weights, uncached_parametrizations, warn_of_stale
from l0compile.frontend.trace import trace
from l0compile.ir.program import Program
from l0compile.ir.tensors import resolved

_log = logging.getLogger("l0compile")
# Logs the stack of an operator that fails, whose error is told anyway.
_FAKE_LOG = "torch._subclasses.fake_tensor"


def capture(
    model: nn.Module | ExportedProgram,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    allow_state: bool = False,
) -> Program:
    """Export ``model`` to a :class:`Program`.

    ``linear``, ``layer_norm``, ``gelu``, ``embedding``, ``scaled_dot_product_attention`` and the gates stay whole
    operators. Parameters and buffers become constants, and checks that tracing inserts are dropped. Sparsely stored
    weights become dense ones with the same zeros.

    Args:
        model: A module in eval mode, an ``fx.GraphModule``, or an ExportedProgram, which needs none of the next three
            arguments.
        args: Positional example inputs. A dynamic dimension may have any size in them, 1 included.
        kwargs: Keyword example inputs.
        dynamic_shapes: A specification in torch.export's format, or one with names, such as
            ``{"input_ids": {0: "batch", 1: "seq"}}``, where equal names mean equal sizes. Without it every size is
            fixed.
        allow_state: Make buffers that the model changes state of the program, instead of refusing the model. The
            buffers of the model itself keep their values.

    Returns:
        The program.

    Raises:
        CaptureError: The model is in training mode, changes an input, changes a buffer without ``allow_state``, draws
            random numbers, holds tensors that are not dense and in main memory, or cannot be exported. The message
            names module and line, and says what to do.
    """
    if isinstance(model, ExportedProgram):
        if dynamic_shapes is not None:
            raise CaptureError(
                "capture: an ExportedProgram already fixes what is dynamic; pass dynamic_shapes to torch.export"
            )
        return from_exported_program(_decompose(model, None), allow_state)
    _check_module(model)
    check_containers(args, kwargs)
    with dense_weights(model) as stored, uncached_parametrizations():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            refuse_unusual(name, resolved(tensor))
        call = _bind(model, args, kwargs or {})
        return replace(_capture(model, call, dynamic_shapes, allow_state), stored=stored)


def _capture(model: nn.Module, call: ExampleCall, dynamic_shapes: Any, allow_state: bool) -> Program:
    spec = read_spec(call, dynamic_shapes)
    example = enlarged(call, spec) if spec else call
    stale = stale_weights(model)
    with _equal_names(model, spec):
        exported = _decompose(_export(model, example, spec), model)
    warn_of_stale(stale, exported)
    program = from_exported_program(exported, allow_state)
    if spec is None:
        return program
    program = replace(program, labels=label_symbols(program, example, spec))
    program = accept_size_one(program, model, example, spec)
    return drop_needless_conditions(program, model, example, spec)


def _check_module(model: nn.Module) -> None:
    if isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        raise CaptureError(
            f"capture: expected a model whose forward() is Python code, got TorchScript ({type(model).__name__}); "
            "compile the nn.Module that it was made from"
        )
    if not isinstance(model, nn.Module):
        raise CaptureError(f"capture: expected an nn.Module or ExportedProgram, got {type(model).__name__}")
    # A traced graph holds the training flags of its operators; random operators are found later.
    if model.training and not isinstance(model, fx.GraphModule):
        raise CaptureError(
            "capture: expected a model in eval mode, got training mode; call model.eval() first"
        )


def _bind(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ExampleCall:
    check_inputs(args, kwargs)
    fresh = pytree.tree_map_only(torch.Tensor, _OwnMarks(), (tuple(args), dict(kwargs)))
    call = ExampleCall(inspect.signature(model.forward), *fresh)
    try:
        call.signature.bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise CaptureError(
            f"capture: the example inputs do not fit {type(model).__name__}.forward: {error}"
        ) from error
    return call


class _OwnMarks(dict[int, torch.Tensor]):
    """Tensor -> another plain tensor object with the same memory, the same one for each occurrence.

    torch.export marks dynamic dimensions on the tensors themselves, and leaves the marks there when it fails. The next
    export with the same example would then have other dynamic dimensions than the user asked for.
    """

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.setdefault(id(tensor), resolved(tensor).detach())


def _export(model: nn.Module, call: ExampleCall, spec: DynamicSpec | None) -> ExportedProgram:
    """Export non-strictly; export strictly if that fails, or fixes a size that may vary (``int(0.5 * n)``)."""
    try:
        exported = _traced(model, call, spec, strict=False)
    except Exception as error:  # tracing runs the user's code: anything can come out of it
        second = _strict(model, call, spec)
        if second is None:
            # Without the stack of tracing, above which nobody finds the message.
            told = error.with_traceback(None) if isinstance(error, CaptureError) else explain(model, error)
            raise told from None
        return second
    if spec is not None and pins_a_rounded_size(exported):
        return _strict(model, call, spec) or exported
    return exported


def _strict(model: nn.Module, call: ExampleCall, spec: DynamicSpec | None) -> ExportedProgram | None:
    """Export from the model's byte code, where ``len(x)`` and ``int(size)`` stay sizes; None if that fails too.

    None too while dynamo compiles: the model is a graph already, and PyTorch 2.13 may free the entry in its cache that
    the outer compilation is about to write, which ends the process.
    """
    if CompileContext.current_compile_id() is not None:
        return None
    names = [name for name in logging.root.manager.loggerDict if name.startswith("torch.")]
    try:
        # It prints graphs, and what forward() printed the first time.
        with _silent(names), redirect_stderr(io.StringIO()):
            return _traced(model, call, spec, strict=True)
    except Exception as error:  # as above; the first attempt's error is the one to tell
        _log.debug("strict export fails as well: %s", error)
        return None


def _traced(model: nn.Module, call: ExampleCall, spec: DynamicSpec | None, strict: bool) -> ExportedProgram:
    shapes = spec.shapes if spec else None
    with torch.no_grad(), warnings.catch_warnings(), _silent([_FAKE_LOG]), forgetting_earlier_calls():
        warnings.simplefilter("ignore")
        if strict:
            return torch.export.export(model, call.args, call.kwargs, dynamic_shapes=shapes, strict=True)
        return trace(model, call, shapes)


@contextmanager
def _silent(names: Sequence[str]) -> Iterator[None]:
    """Disable loggers of PyTorch, which on failure tell of code that the user did not write."""
    loggers = [logger for logger in map(logging.getLogger, names) if not logger.disabled]
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        for logger in loggers:
            logger.disabled = False


def _decompose(exported: ExportedProgram, model: nn.Module | None) -> ExportedProgram:
    if is_functional(exported):
        return exported  # tracing it again takes as long as the export did
    try:
        with torch.no_grad(), warnings.catch_warnings(), plain_mods(exported):
            warnings.simplefilter("ignore")
            return exported.run_decompositions({})
    except Exception as error:  # same: fake kernels of the user's custom operators run here
        raise explain(model, error) from None


@contextmanager
def _equal_names(model: nn.Module, spec: DynamicSpec | None) -> Any:
    """During tracing, assert that dimensions of one name have one size."""
    groups: dict[str, list[Any]] = {}
    for key, name in (spec.dims if spec else {}).items():
        if name is not None:
            groups.setdefault(name, []).append(key)
    if all(len(keys) < 2 for keys in groups.values()):
        yield
        return
    handle = model.register_forward_pre_hook(_size_check(model.forward, groups), with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _size_check(forward: Callable[..., Any], groups: Mapping[str, list[Any]]) -> Callable[..., None]:
    signature = inspect.signature(forward)

    def check(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = ExampleCall(signature, args, kwargs).arguments
        for keys in groups.values():
            sizes = [lookup(arguments, path).shape[dim] for path, dim in keys]
            for size in sizes[1:]:
                torch._check(size == sizes[0])

    return check
