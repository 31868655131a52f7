"""Tensors that no step after capture can deal with."""

import torch

from l0compile.errors import CaptureError


def refuse_unusual(name: str, tensor: torch.Tensor) -> None:
    """Raise CaptureError for a tensor without values, or with values in another form than dense numbers."""
    if tensor.is_meta:
        found, cure = "the meta device", "load the weights first"
    elif tensor.is_quantized:
        found, cure = str(tensor.dtype), "compile the floating-point model"
    elif tensor.layout is not torch.strided:
        found, cure = str(tensor.layout), "convert it with .to_dense(); zeros are used all the same"
    elif tensor.device.type != "cpu":
        found, cure = f"a tensor on {tensor.device}", "move model and inputs with .cpu()"
    else:
        return
    raise CaptureError(
        f"capture: {name}: expected a dense tensor with values in main memory, got {found}; {cure}"
    )
