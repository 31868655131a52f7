"""Turning an exception inside tracing into a message that names the module, the line and what to do."""

import linecache
import os
import re
from types import FrameType

import torch

from l0compile.errors import CaptureError

# Frames of PyTorch and of this folder are not the user's code.
_TRACERS = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(__file__) + os.sep)

_BY_VALUES = r"DataDependent|data-dependent|Could not guard|unbacked|GuardOnDataDependent"

# (pattern for type and text of the exception, what to do); the first match wins.
_ADVICE = (
    (
        r"InputError.*FakeTensor",
        "a part of the model is compiled already, so it cannot be traced: compile the whole original model",
    ),
    (
        _BY_VALUES,
        "control flow or a size depends on values in a tensor: write it with torch.where, pass the value as a "
        "Python argument, or move it out of forward()",
    ),
    (
        r"Constraints violated|ConstraintViolation|specialized|conflicts between user-specified|Not all values of",
        "the model fixes or bounds a dimension that is declared dynamic: drop it from dynamic_shapes or give its "
        "range, as torch suggests above",
    ),
    (
        r"fake|FakeTensor|meta kernel|no fake impl|DynamicOutputShape|UnsupportedOperator",
        "an operator has no shape function: register one with torch.library.register_fake, or move it out of forward()",
    ),
    (
        r"register a pytree|register_dataclass|Unsupported input type",
        "PyTorch does not know the class of an argument or result: call torch.export.register_dataclass(TheClass) "
        "once for a dataclass, or use a dict, a tuple or a named tuple",
    ),
    (
        r"FunctionalTensor on its own",
        "a branch or loop body makes a tensor from Python numbers, which PyTorch cannot export there: make it a "
        "buffer, or use torch.full",
    ),
    (
        r"is mutated in the forward method",
        "forward() changes a tensor that is not a buffer: make it state of the model with register_buffer()",
    ),
    (
        r"expected compiled_fn to be GraphModule",
        "forward() changes a buffer under another name (two buffers share memory, or a list holds it): change "
        "self.NAME itself, and clone buffers that share memory",
    ),
    (
        r"same reduction dim|cannot be multiplied|must match the size|invalid for input of size|to have \d+ channels",
        "sizes do not fit in forward(): give example inputs that the model itself takes, and declare no dimension "
        "dynamic that it fixes",
    ),
    (
        r"mutat|in-place|inplace",
        "the model changes an input or a constant: return the new value instead, or register it as a buffer",
    ),
)
_DEFAULT = "make forward() traceable by torch.export (tensors in, tensors out, no side effects), or compile a submodule"


def decides_by_values(error: Exception) -> bool:
    """Return whether tracing failed because a size or a branch depends on values."""
    return re.search(_BY_VALUES, f"{type(error).__name__} {error}") is not None


def explain(model: torch.nn.Module | None, error: Exception, culprit: str = "") -> CaptureError:
    """Make a CaptureError that explains an error of tracing.

    Raise it ``from None``, because readers miss a message below the stack of torch.export. The original error is still
    there as ``__context__``.

    Args:
        model: The model that was traced, if there is one.
        error: What tracing it raised.
        culprit: What is known about the cause.

    Returns:
        The error to raise.
    """
    where = _location(model, error)
    text = " ".join(str(error).split("\n\n")[0].split())[:400].removesuffix(".")
    described = f"{type(error).__name__} {error}"
    advice = next((advice for pattern, advice in _ADVICE if re.search(pattern, described)), _DEFAULT)
    return CaptureError(
        f"capture: {where}: expected a graph, got {culprit}{type(error).__name__}: {text}. What to do: {advice}"
    )


def _location(model: torch.nn.Module | None, error: BaseException) -> str:
    names = {id(module): name for name, module in model.named_modules()} if model is not None else {}
    module, line = "", ""
    for frame, number in _frames(error):
        owner = frame.f_locals.get("self")
        if isinstance(owner, torch.nn.Module) and id(owner) in names:
            module = f"module {names[id(owner)] or '(root)'!s} ({type(owner).__name__})"
        path = frame.f_code.co_filename
        if module and not path.startswith(_TRACERS) and os.path.isfile(path):
            source = linecache.getline(path, number).strip()
            line = f", {os.path.basename(path)}:{number}: `{source}`"
    return (module or "the model") + line


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    frames: list[tuple[FrameType, int]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        trace = current.__traceback__
        while trace is not None:
            frames.append((trace.tb_frame, trace.tb_lineno))
            trace = trace.tb_next
        current = current.__cause__ or current.__context__
    return frames
