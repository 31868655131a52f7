"""Rewriting indices with known values so that the shape of what they select is known."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

Value = Callable[[Tensor], Tensor | None]


@contextmanager
def untraced() -> Iterator[None]:
    """Run functions on real tensors, untraced, for the duration of the block."""
    with torch._C.DisableTorchFunction(), _disable_current_modes(), torch.no_grad():
        yield


def with_positions(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], value: Value, note: Callable[[Tensor], None]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Rewrite a call of ``func`` so that known values give its result a known shape.

    ``x[mask]`` and ``masked_select(x, mask)`` become ``x[positions]``, and so does an assignment to ``x[mask]``.
    ``repeat_interleave`` is given the size of its result.

    Args:
        func: The function that is called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        value: Tensor -> its value, None if unknown.
        note: Called with each tensor whose value is used.

    Returns:
        The function, positional arguments and keyword arguments to call.
    """
    name = getattr(func, "__name__", "")
    if name == "masked_select" and len(args) == 2 and args[0].shape == args[1].shape:
        func, name = Tensor.__getitem__, "__getitem__"
    if name in ("__getitem__", "__setitem__") and len(args) > 1:
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        found = [position for item in index for position in _positions(item, value, note)]
        if any(new is not old for new, old in zip(found, index, strict=False)):
            args = (args[0], tuple(found), *args[2:])
    elif name == "repeat_interleave" and "output_size" not in kwargs and len(args) > 1:
        repeats = value(args[1]) if isinstance(args[1], Tensor) and args[1].ndim == 1 else None
        if repeats is not None and len(repeats) > 1:
            note(args[1])
            with untraced():
                size = int(repeats.sum())
            return func, args, {**kwargs, "output_size": size}
    return func, args, dict(kwargs)


def _positions(item: Any, value: Value, note: Callable[[Tensor], None]) -> tuple[Any, ...]:
    if isinstance(item, slice):
        return (slice(*(_number(end, value, note) for end in (item.start, item.stop, item.step))),)
    if not isinstance(item, Tensor) or item.dtype not in (torch.bool, torch.uint8) or item.ndim == 0:
        return (item,)
    mask = value(item)
    if mask is None:
        return (item,)
    note(item)
    with untraced():
        return tuple(mask.bool().nonzero(as_tuple=True))


def _number(end: Any, value: Value, note: Callable[[Tensor], None]) -> Any:
    known = value(end) if isinstance(end, Tensor) else None
    if known is None:
        return end
    note(end)
    with untraced():
        return int(known)
