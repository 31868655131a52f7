"""Compare compiled answers with the model's own, on real inputs, whenever a model is compiled."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from l0compile.compiler.verification.rounding import rounding_distance
from l0compile.errors import ConfigError, NoAnswerError, RewriteError
from l0compile.frontend.example_inputs import check_containers
from l0compile.frontend.fast_path import has_fast_path, without_fast_path
from l0compile.ir.nodes import is_op
from l0compile.ir.program import Program
from l0compile.runtime import CompiledModel

CheckedCall = tuple[tuple[Any, ...], dict[str, Any]]

TOLERANCES = {torch.float64: 1e-9, torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
"""Largest accepted difference as a share of the largest value of an output, by the least exact floating type in the
model: sums come out otherwise in another order, and each operator rounds to its type."""


def tolerance(program: Program) -> float:
    """Return the tolerance for a model: that of the least exact floating type among its values."""
    values = [node.meta.get("val") for node in program.graph.nodes]
    types = {value.dtype.to_real() for value in values if isinstance(value, Tensor)}
    return max((TOLERANCES.get(kind, 0.0) for kind in types), default=0.0)


def rounds(program: Program) -> bool:
    """Whether a model rounds to integers, so that its last bits decide between levels."""
    return any(is_op(node, torch.ops.l0compile.quantize.default) for node in program.graph.nodes)


def verify(
    compiled: Callable[..., Any],
    reference: Callable[..., Any],
    calls: Sequence[CheckedCall],
    limit: float,
    integers: bool = False,
) -> dict[str, Any]:
    """Compare ``compiled`` with ``reference`` on each call.

    Floating results, and the parts of complex ones, may differ by ``limit`` of the output's largest finite value, and
    must have infinities in the same places. All else must be equal: other types exactly, and the structure. A NaN in
    the reference is refused as well, since nothing equals it.

    The model runs as tracing saw it: without the fast path of ``nn.TransformerEncoder``, which makes padded tokens
    zero.

    Args:
        compiled: the compiled model.
        reference: the model.
        calls: (args, kwargs) of each call.
        limit: largest accepted difference, as a share of the output's largest value.
        integers: the model rounds to integers; then as much is accepted as its last bits make, if that is more.

    Returns:
        The record for ``explain()``: ``checked``, ``max_difference``, ``tolerance``, ``inputs``; ``rounding``, what the
        last bits before roundings make, if it is above ``limit``; and ``fast_path``, the difference of the model's own
        answer with that path, if it is above ``limit``.

    Raises:
        RewriteError: an answer differs; the message names call, output, tolerance and difference.
        NoAnswerError: the model itself raises, or gives NaN.
    """
    allowed, worst, fast_path, rounding = limit, 0.0, 0.0, 0.0
    for number, (args, kwargs) in enumerate(calls):
        where = f"verification: call {number}, " if len(calls) > 1 else "verification: "
        with torch.no_grad(), without_fast_path():
            expected = _leaves(_own(where, reference, args, kwargs))
            if integers:
                call = (args, kwargs)
                rounding = max(rounding, rounding_distance(reference, call, expected, _apart))
                allowed = max(limit, rounding)
        actual = _leaves(_called(compiled, args, kwargs))
        if list(expected) != list(actual):
            raise RewriteError(f"{where}expected results {list(expected)}, got {list(actual)}")
        for name, want in expected.items():
            worst = max(worst, _compare(f"{where}output {name}", want, actual[name], allowed))
        if has_fast_path(reference):
            with torch.no_grad():
                fast_path = max(fast_path, _distance(expected, _leaves(reference(*args, **kwargs))))
    record = {
        "checked": True,
        "max_difference": worst,
        "tolerance": allowed,
        "inputs": len(calls),
    }
    record |= {"rounding": rounding} if rounding > limit else {}
    return {**record, "fast_path": fast_path} if fast_path > limit else record


def _own(where: str, reference: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    try:
        return reference(*args, **kwargs)
    except Exception as error:  # the user's code: anything can come out of it
        raise NoAnswerError(
            f"{where}the model itself raises {type(error).__name__}: {error}; give inputs that it takes"
        ) from error


def _apart(expected: Mapping[str, Any], other: Any) -> float:
    return _distance(expected, _leaves(other))


def _distance(expected: Mapping[str, Any], others: Mapping[str, Any]) -> float:
    """Return the largest difference between two results, as a share of the largest value of each output."""
    shares = [0.0]
    for name, want in expected.items():
        if isinstance(want, Tensor) and want.dtype.is_floating_point and want.numel():
            gap, scale = (want - others[name]).abs().max(), want.abs().max()
            shares.append(float(gap / scale) if scale else float(gap))
    return max(shares)


def showing_state(
    compiled: CompiledModel, reference: nn.Module, names: Sequence[str]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return both models as functions whose results also hold the buffers ``names`` after the call."""
    if not names:
        return compiled, reference

    def compiled_too(*args: Any, **kwargs: Any) -> Any:
        result = compiled(*args, **kwargs)
        state = compiled.state
        return {"result": result, "state": {name: state[name] for name in names}}

    def reference_too(*args: Any, **kwargs: Any) -> Any:
        result = reference(*args, **kwargs)
        return {"result": result, "state": {name: reference.get_buffer(name) for name in names}}

    return compiled_too, reference_too


def read_calls(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], wanted: Any) -> list[CheckedCall]:
    """Return the calls to compare on.

    Args:
        model: a module, or an ExportedProgram with the example that it was traced with.
        args: of the example.
        kwargs: of the example.
        wanted: ``verify`` of ``compile``: False for no call, True for the example, or more calls beside the example.

    Raises:
        CaptureError: the example is no tuple with a dict.
        ConfigError: ``wanted`` is neither a bool nor a list of calls.
        CaptureError: ``args`` or ``kwargs`` is no container of inputs.
    """
    check_containers(args, kwargs)
    if wanted is False:
        return []
    example = (tuple(args), dict(kwargs))
    if not args and not kwargs and isinstance(model, torch.export.ExportedProgram):
        traced = model.example_inputs
        own: list[CheckedCall] = [] if traced is None else [(tuple(traced[0]), dict(traced[1]))]
    else:
        own = [example]
    if wanted is True:
        return own
    if isinstance(wanted, str | Mapping) or not isinstance(wanted, Iterable):
        raise _no_calls(f"{wanted!r}"[:200])
    return own + [_call(item) for item in wanted]


def _call(item: Any) -> CheckedCall:
    if (
        isinstance(item, tuple)
        and len(item) == 2
        and isinstance(item[0], tuple)
        and isinstance(item[1], dict)
    ):
        return item
    raise _no_calls(f"an item of type {type(item).__name__}")


def _no_calls(got: str) -> ConfigError:
    return ConfigError(
        "compile: verify: expected True, False or a list of calls [(args, kwargs), ...] with args a tuple and kwargs a "
        f"dict, got {got}"
    )


def _compare(where: str, want: Any, got: Any, limit: float) -> float:
    """Return the difference as a share of the largest value; raise RewriteError if it is above ``limit``."""
    if not isinstance(want, Tensor) or not isinstance(got, Tensor):
        if type(want) is not type(got) or want != got:
            raise RewriteError(f"{where}: expected {want!r}, got {got!r}")
        return 0.0
    if want.shape != got.shape or want.dtype != got.dtype:
        kinds = [f"{tuple(tensor.shape)} {tensor.dtype}" for tensor in (want, got)]
        raise RewriteError(f"{where}: expected {kinds[0]}, got {kinds[1]}")
    if want.is_complex():
        want, got = (torch.view_as_real(value.detach().resolve_conj()) for value in (want, got))
    if not want.dtype.is_floating_point:
        if not torch.equal(want, got):
            ties = "; of equal values topk and sort of PyTorch name any place, and ours the first"
            hint = ties if want.dtype == torch.int64 else ""
            raise RewriteError(
                f"{where}: expected {want.dtype} values equal to the model's, got others{hint}"
            )
        return 0.0
    wanted, given = want.detach().double(), got.detach().double()
    if bool(wanted.isnan().any()):
        raise NoAnswerError(
            f"{where}: the model itself gives NaN for this input, which compares with nothing; verify with inputs that "
            "it has an answer for, or compile with verify=False"
        )
    finite = wanted.isfinite()
    if not torch.equal(wanted[~finite], given[~finite]):
        raise RewriteError(f"{where}: expected infinities where the model has them, got other values there")
    scale = float(wanted[finite].abs().max()) if bool(finite.any()) else 0.0
    difference = float((wanted - given)[finite].abs().max()) if bool(finite.any()) else 0.0
    share = difference / scale if scale else difference
    if not share <= limit:  # also when NaN
        raise RewriteError(
            f"{where}: expected the model's values within {limit:.0e} of the largest, got a difference of {share:.1e}; "
            "compile with verify=False to look at it, and please report the model"
        )
    return share


def _leaves(result: Any) -> dict[str, Any]:
    """Return name -> part of a result; the name is its position, or the path to it in a nested result."""
    return {_name(path) or "0": leaf for path, leaf in pytree.tree_leaves_with_path(result)}


def _name(path: Iterable[Any]) -> str:
    return ".".join(str(getattr(key, "idx", getattr(key, "key", getattr(key, "name", key)))) for key in path)


def _called(compiled: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    try:
        return compiled(*args, **kwargs)
    except RuntimeError as error:  # TVM's checks of shapes, and PyTorch's
        lines = str(error).strip().splitlines() or [""]
        raise RewriteError(
            f"verification: what was compiled fails on the example inputs: {lines[0]}"
        ) from error
