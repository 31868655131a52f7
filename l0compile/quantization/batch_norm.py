"""Batch norm right after a convolution: found, so that it can be folded into the weight before that is rounded."""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from l0compile.gates.fold import gates_of

Pair = tuple[nn.Conv2d, nn.BatchNorm2d]


def norms_after(model: nn.Module) -> list[Pair]:
    """Return the convolutions whose result nothing but a batch norm with fixed statistics reads.

    This is read off the code by ``torch.fx``; where that cannot follow a module, off its children. Each of the two has
    one place in the model, and is called once in the code of a call.

    Args:
        model: in evaluation mode. A copy of it is traced, because tracing may leave something behind.
    """
    if not {nn.Conv2d, nn.BatchNorm2d} <= {type(module) for module in model.modules()}:
        return []
    places = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    modules, found = dict(model.named_modules()), list[Pair]()
    for prefix, graph in _graphs(copy.deepcopy(model), ""):
        called = Counter(node.target for node in graph.nodes if node.op == "call_module")
        for node in graph.nodes:
            reader = next(iter(node.users), None)
            if (
                node.op != "call_module"
                or len(node.users) != 1
                or reader is None
                or reader.op != "call_module"
            ):
                continue
            conv, norm = (modules.get(prefix + str(call.target)) for call in (node, reader))
            once = all(
                called[call.target] == places[id(part)] == 1 for call, part in ((node, conv), (reader, norm))
            )
            if once and isinstance(conv, nn.Conv2d) and type(norm) is nn.BatchNorm2d and _plain(norm):
                found.append((conv, norm))
    return found


def _graphs(module: nn.Module, prefix: str) -> Iterator[tuple[str, fx.Graph]]:
    """Yield (prefix of names, graph) of the largest modules whose code can be traced."""
    try:
        yield prefix, fx.Tracer().trace(module)
        return
    except Exception:  # it runs the model's own code, with what is no tensor
        children = list(module.named_children())
    for name, child in children:
        if any(True for _ in child.children()):
            yield from _graphs(child, f"{prefix}{name}.")


def _plain(norm: nn.BatchNorm2d) -> bool:
    """Whether it has fixed statistics, and neither hooks nor gates."""
    hooks = norm._forward_hooks or norm._forward_pre_hooks
    return norm.running_mean is not None and not norm.training and not hooks and not gates_of(norm)


class Watched:
    """Hooks that see, call by call, whether each batch norm gets the very result of its convolution.

    The code that calls a module was perhaps not traced, and could use a convolution by itself.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._pairs = list(pairs)
        self._waiting: dict[nn.Module, Any] = {}
        self._broken: set[nn.Module] = set()
        self._hooks = [
            handle
            for conv, norm in self._pairs
            for handle in (
                conv.register_forward_hook(self._left),
                norm.register_forward_pre_hook(lambda _, args, conv=conv: self._arrived(conv, args)),
            )
        ]

    def _left(self, conv: nn.Module, args: Any, result: Any) -> None:
        if conv in self._waiting:
            self._broken.add(conv)
        self._waiting[conv] = result

    def _arrived(self, conv: nn.Module, args: Any) -> None:
        if self._waiting.pop(conv, None) is not args[0]:
            self._broken.add(conv)

    def confirmed(self) -> dict[nn.Module, nn.BatchNorm2d]:
        """Return convolution -> batch norm of the pairs that held in all calls, and remove the hooks."""
        for handle in self._hooks:
            handle.remove()
        broken = self._broken | set(self._waiting)
        return {conv: norm for conv, norm in self._pairs if conv not in broken}


def folded(
    weight: nn.Parameter, bias: nn.Parameter | None, norm: nn.BatchNorm2d
) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weight and bias of a convolution and the batch norm after it, as ``fuse_conv_bn_eval`` does."""
    mean, var = norm.running_mean, norm.running_var
    assert isinstance(mean, Tensor) and isinstance(var, Tensor)
    return fuse_conv_bn_weights(weight, bias, mean, var, norm.eps, norm.weight, norm.bias)
