"""The attention that a model calls: by which module, over how many heads and tokens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from l0compile.attention.assignment.call import Call
from l0compile.attention.assignment.multi_head import multi_head

Answer = Callable[[Call], Tensor]


class Answering(TorchFunctionMode):
    """While active, attention over four axes without dropout is what ``answer`` says, that of PyTorch's module too."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            call = Call(*args, **kwargs)
            if call.query.ndim == 4 and not call.dropout_p:
                return self._answer(call)
        if func is F.multi_head_attention_forward:
            result = multi_head(args, kwargs, self._answer)
            if result is not None:
                return result
        return func(*args, **kwargs)


@dataclass(frozen=True)
class AttentionSite:
    """A module that calls ``scaled_dot_product_attention`` once in a forward pass; ``nn.MultiheadAttention`` does.

    Attributes:
        name: of the module.
        heads: query heads; key_heads: key and value heads.
        width: of a query head; value_width: of a value head.
        sequences: the batch; queries, keys: tokens of each sequence.
        causal: by ``is_causal``. masked: it has a mask.
    """

    name: str
    heads: int
    key_heads: int
    width: int
    value_width: int
    sequences: int
    queries: int
    keys: int
    causal: bool
    masked: bool


@contextmanager
def answered(model: nn.Module, answer: Callable[[str, Call], Tensor]) -> Iterator[None]:
    """Meanwhile ``answer`` gets every attention of ``model``, with the name of the innermost module that calls it."""
    inside: list[str] = []

    def enter(name: str, module: nn.Module, args: Any) -> None:
        inside.append(name)

    def leave(module: nn.Module, args: Any, result: Any) -> None:
        inside.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(partial(enter, name)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        with Answering(lambda call: answer(inside[-1], call)):
            yield
    finally:
        for handle in handles:
            handle.remove()


def attention_sites(model: nn.Module, args: tuple[Any, ...]) -> dict[str, AttentionSite]:
    """Run ``model`` on ``args`` and note which modules call attention, in the order of their calls.

    A module that calls it several times in one pass is left out: what each of its calls sees cannot be told apart by
    its name. So is an ``nn.MultiheadAttention`` that returns its weights too (``need_weights``, its default).
    """
    found: dict[str, AttentionSite] = {}
    twice: set[str] = set()

    def note(name: str, call: Call) -> Tensor:
        if name in found:
            twice.add(name)
        q, k, v = call[:3]
        found[name] = AttentionSite(
            name, q.shape[1], k.shape[1], q.shape[3], v.shape[3], q.shape[0], q.shape[2], k.shape[2],
            call.is_causal, call.attn_mask is not None,
        )  # fmt: skip
        return call.dense()

    with torch.no_grad(), answered(model, note):
        model(*args)
    return {name: site for name, site in found.items() if name not in twice}
