"""Tracing with the values of tensors that follow from constants, for models whose branches or sizes depend on them."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from l0compile.frontend.known_indices import untraced, with_positions

# Functions whose result or its shape depends on values.
_READ_VALUES = frozenset({
    "item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__complex__", "__contains__",
    "is_nonzero", "equal", "allclose", "nonzero", "argwhere", "unique", "unique_consecutive", "bincount",
})  # fmt: skip
_RANDOM = re.compile(
    r"rand|bernoulli|multinomial|^normal|dropout|poisson|exponential_|uniform_|cauchy_|geometric_|log_normal_|empty"
    r"|rrelu|gumbel|resize|^set_"
)
_IN_PLACE = frozenset({"__setitem__", *(f"__i{name}__" for name in (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "matmul",
))})  # fmt: skip
_LARGEST = 1 << 24  # elements; a mask for 4,096 tokens has as many


class KnownValues(TorchFunctionMode):
    """Keeps the real tensor of each fake tensor that follows from constants.

    A function that reads values is given the real ones, and its result is a constant of the trace. All other functions
    are traced as usual. When something unknown changes a tensor in place, the tensor and its views become unknown.

    Attributes:
        read: Names of the parameters and buffers whose values were read.
        blame: (function, inputs) of the last read of values that do not follow from constants.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.read: set[str] = set()
        self.blame: tuple[str, tuple[str, ...]] | None = None
        self._given = {name: t.detach() for name, t in (*model.named_parameters(), *model.named_buffers())}
        self._model = model
        self._own = {t.untyped_storage().data_ptr() for t in self._given.values() if not t.is_meta}
        self._values: dict[int, Tensor] = {}
        self._sources: dict[int, frozenset[str]] = {}
        self._alive: list[Any] = []  # an id is only unique while its object lives

    def start(self, inputs: Mapping[str, Any]) -> None:
        """Note the fake parameters and buffers that the model holds during tracing, and its fake inputs by name."""
        for name, fake in (*self._model.named_parameters(), *self._model.named_buffers()):
            if name in self._given:
                self._note(fake, self._given[name], frozenset([name]))
        for path, leaf in pytree.tree_leaves_with_path(dict(inputs)):
            if isinstance(leaf, Tensor):
                self._note(leaf, None, frozenset([f"input {pytree.keystr(path[:1])[2:-2]}"]))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func, args, kwargs = with_positions(func, args, kwargs or {}, self._value, self._mark_read)
        name = getattr(func, "__name__", "")
        real = self._real((args, kwargs))
        sources = self._sources_of((args, kwargs))
        if name in _READ_VALUES or (name == "where" and len(args) + len(kwargs) == 1):
            if real is not None:
                self.read |= sources
                return self._evaluate(func, *real)
            self.blame = (name.strip("_"), tuple(sorted(sources)))
        result = func(*args, **kwargs)
        self._follow(func, name, (args, kwargs), real, result, sources)
        return result

    def _follow(
        self, func: Any, name: str, given: Any, real: Any, result: Any, sources: frozenset[str]
    ) -> None:
        """Note what ``func`` returned and changed; ``real`` holds the values of its arguments if they are known."""
        fakes = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, FakeTensor)]
        changed = _changed(func, name, *given)
        follows = real is not None and not _RANDOM.search(name) and _is_small([*fakes, *changed])
        if (fakes or changed) and follows and not any(map(self._is_given, changed)):
            known = pytree.tree_leaves(self._evaluate(func, *real))
            for fake, value in zip(pytree.tree_leaves(result), known, strict=True):
                if isinstance(fake, FakeTensor) and tuple(fake.shape) == tuple(value.shape):
                    self._note(fake, value, sources)
            return
        for fake in fakes:
            self._note(fake, None, sources)
        for tensor in changed:
            self._forget(tensor, sources)

    def _evaluate(self, func: Any, args: Any, kwargs: Any) -> Any:
        with untraced():
            return func(*args, **kwargs)

    def _real(self, given: Any) -> Any:
        """Return the arguments with real tensors; None if some value is unknown."""
        leaves, spec = pytree.tree_flatten(given)
        values = [self._value(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        unknown = (torch.SymInt, torch.SymFloat, torch.SymBool)
        if any(value is None and leaf is not None for value, leaf in zip(values, leaves, strict=True)):
            return None
        if any(isinstance(leaf, unknown) or _holds_symbols(leaf) for leaf in leaves):
            return None
        return pytree.tree_unflatten(values, spec)

    def _value(self, tensor: Tensor) -> Tensor | None:
        if id(tensor) in self._values:
            return self._values[id(tensor)]
        plain = type(tensor) in (
            Tensor,
            nn.Parameter,
        ) and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        return tensor if plain and id(tensor) not in self._sources else None

    def _sources_of(self, given: Any) -> frozenset[str]:
        leaves = (leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor))
        return frozenset().union(*(self._sources.get(id(leaf), frozenset()) for leaf in leaves))

    def _mark_read(self, tensor: Tensor) -> None:
        self.read |= self._sources.get(id(tensor), frozenset())

    def _note(self, tensor: Any, value: Tensor | None, sources: frozenset[str]) -> None:
        self._alive.append(tensor)
        self._sources[id(tensor)] = self._sources.get(id(tensor), frozenset()) | sources
        if value is None:
            self._values.pop(id(tensor), None)
        else:
            self._values[id(tensor)] = value

    def _is_given(self, tensor: Tensor) -> bool:
        """Return whether the value lies in a tensor of the model, which tracing must not change."""
        value = self._values.get(id(tensor))
        return value is None or value.untyped_storage().data_ptr() in self._own

    def _forget(self, tensor: Tensor, sources: frozenset[str]) -> None:
        value = self._values.get(id(tensor))
        if value is not None:
            storage = value.untyped_storage().data_ptr()
            views = [
                key for key, other in self._values.items() if other.untyped_storage().data_ptr() == storage
            ]
            for key in views:
                del self._values[key]
                self._sources[key] = self._sources.get(key, frozenset()) | sources
        self._note(tensor, None, sources)


def _changed(func: Any, name: str, args: Any, kwargs: Any) -> list[Tensor]:
    """List the tensors that a function writes to, or may write to."""
    in_place = name in _IN_PLACE or (name.endswith("_") and not name.endswith("__")) or kwargs.get("inplace")
    if getattr(func, "__module__", "") == "torch.nn.functional":
        in_place = in_place or any(arg is True for arg in args)  # one of the flags may be "inplace"
    written = (args, kwargs) if _is_mutable(func) else [*(args[:1] if in_place else ()), kwargs.get("out")]
    return [leaf for leaf in pytree.tree_leaves(written) if isinstance(leaf, Tensor)]


def _is_mutable(func: Any) -> bool:
    """Return whether ``func`` is an operator of ``torch.ops`` that changes its arguments."""
    if isinstance(func, OpOverloadPacket):
        return any(getattr(func, overload)._schema.is_mutable for overload in func.overloads())
    return isinstance(func, OpOverload) and bool(func._schema.is_mutable)


def _is_small(tensors: list[Tensor]) -> bool:
    sizes = [tensor.numel() for tensor in tensors]
    return all(isinstance(size, int) and size <= _LARGEST for size in sizes)


def _holds_symbols(leaf: Any) -> bool:
    """Return whether an argument is a slice with a symbol in it, or a function, which may do anything."""
    if isinstance(leaf, slice):
        return any(isinstance(end, torch.SymInt | Tensor) for end in (leaf.start, leaf.stop, leaf.step))
    return callable(leaf) and not isinstance(leaf, Tensor | type)


@contextmanager
def known_values(
    model: nn.Module, name_inputs: Callable[[tuple[Any, ...], dict[str, Any]], Mapping[str, Any]]
) -> Iterator[KnownValues]:
    """Run each call of ``model`` under :class:`KnownValues` for the duration of the block.

    Args:
        model: The model to trace.
        name_inputs: Positional and keyword arguments of a call -> arguments by name.
    """
    known = KnownValues(model)

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        known.start(name_inputs(args, kwargs))
        known.__enter__()

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        known.__exit__(None, None, None)

    depth = torch._C._len_torch_function_stack()
    handles = [
        model.register_forward_pre_hook(enter, with_kwargs=True),
        model.register_forward_hook(leave, always_call=True),
    ]
    try:
        yield known
    finally:
        for handle in handles:
            handle.remove()
        # While exporting, PyTorch runs no hook after a forward() that raises, and then takes our mode for its own.
        for _ in range(torch._C._len_torch_function_stack() - depth):
            torch._C._pop_torch_function_stack()
