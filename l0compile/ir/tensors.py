"""Resolve or refuse tensors whose values are not simply those in their memory.

Compiled code reads memory. A tensor may be negated or conjugated when it is read, may stand for other tensors, may
store its elements in another form, or may have no memory at all.
"""

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

ORDINARY_TYPES = (Tensor, nn.Parameter)
_KEYS = torch._C.DispatchKey


def resolved(tensor: Tensor) -> Tensor:
    """The values as a plain tensor, without lazy negation or conjugation; ``tensor`` itself if it is one already.

    A wrapper is removed where its class offers ``as_tensor``, as those of PyTorch Geometric do.
    """
    if type(tensor) not in ORDINARY_TYPES:
        tensor = _unwrapped(tensor)
    if type(tensor) not in ORDINARY_TYPES or not (tensor.is_neg() or tensor.is_conj()):
        return tensor
    return tensor.detach().resolve_conj().resolve_neg()


def oddity(tensor: Tensor, anywhere: bool = False) -> tuple[str, str] | None:
    """(what it is, what to do) for a tensor that is not dense memory of this process; None for one that is.

    ``tensor`` has been through :func:`resolved`; ``anywhere``: it may be in the memory of a device.
    """
    if is_lazy(tensor):
        return "a parameter without a shape", "run the model once, which gives it one"
    if _is_wrapper(tensor):
        return (
            f"{type(tensor).__module__}.{type(tensor).__qualname__}, which stands for other tensors",
            "pass the plain tensor that it stands for",
        )
    if tensor.is_nested:
        return "a nested tensor", "pad it with torch.nested.to_padded_tensor, and pass a mask"
    if tensor.is_meta:
        return "one on the meta device, which has no values", "load the values first"
    if tensor.is_quantized:
        return f"{tensor.dtype}", "pass .dequantize(), or compile the floating-point model"
    if tensor.layout is not torch.strided:
        return f"{tensor.layout}", "convert it with .to_dense()"
    if tensor.device.type != "cpu" and not anywhere:
        return f"one on {tensor.device}", "move it with .cpu()"
    if not has_memory(tensor):
        return (
            "one without memory",
            "call it outside of torch.func transforms, with tensors that were not freed",
        )
    return None


def has_memory(tensor: Tensor) -> bool:
    """Whether the elements are in memory. They are not inside torch.vmap, in functional tensors, or once freed."""
    try:
        return tensor.data_ptr() != 0 or tensor.numel() == 0
    except RuntimeError:
        return False


def _unwrapped(tensor: Tensor) -> Tensor:
    if not _is_wrapper(tensor) and not is_lazy(tensor):
        with torch._C.DisableTorchFunctionSubclass():
            return tensor.as_subclass(Tensor)
    as_tensor = getattr(type(tensor), "as_tensor", None)
    inner = as_tensor(tensor) if callable(as_tensor) else None
    same = isinstance(inner, Tensor) and (inner.shape, inner.dtype) == (tensor.shape, tensor.dtype)
    return inner if same else tensor  # type: ignore[return-value]


def _is_wrapper(tensor: Tensor) -> bool:
    """Whether Python code of the tensor's class, instead of memory, answers every operator on it."""
    return bool(torch._C._dispatch_keys(tensor).has(_KEYS.Python))
