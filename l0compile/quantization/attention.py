"""Attention whose products are in bfloat16, wherever a model calls ``scaled_dot_product_attention``."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class _Products(TorchFunctionMode):
    """While active, attention over four axes, without dropout, multiplies bfloat16 numbers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _fits(*args, **kwargs):
            return torch.ops.l0compile.bfloat16_attention(*args, **kwargs)
        return func(*args, **kwargs)


def _fits(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, *rest: Any, **others: Any
) -> bool:
    tensors = [query, key, value]
    return not dropout_p and all(t.ndim == 4 and t.dtype == torch.float32 for t in tensors)


class Bfloat16Products:
    """A pair of hooks of a module, between which attention multiplies bfloat16 numbers."""

    def __init__(self) -> None:
        self.modes: list[_Products | None] = []

    def enter(self, module: nn.Module, args: Any) -> None:
        """Begin; a module's forward pre-hook. In training mode nothing changes."""
        self.modes.append(None if module.training else _Products())
        if (mode := self.modes[-1]) is not None:
            mode.__enter__()

    def leave(self, module: nn.Module, args: Any, result: Any) -> None:
        """End; a module's forward hook, called whatever happens."""
        if (mode := self.modes.pop()) is not None:
            mode.__exit__(None, None, None)


def multiply_in_bfloat16(model: nn.Module) -> None:
    """Have every attention of ``model`` multiply bfloat16 numbers: queries, keys, values and exponentials are rounded.

    Sums and softmax stay float32, see ``l0compile::attention``. The operator has no gradients: in training mode
    attention is computed in float32.
    """
    hooks = Bfloat16Products()
    model.register_forward_pre_hook(hooks.enter)
    model.register_forward_hook(hooks.leave, always_call=True)
