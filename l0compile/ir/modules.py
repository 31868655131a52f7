"""Put tensors into modules under given names."""

import torch
from torch import nn


def hold(root: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Make ``tensor`` a parameter or buffer of ``root`` under a dotted name; missing modules are created."""
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    if isinstance(tensor, nn.Parameter):
        root.register_parameter(last, tensor)
    else:
        root.register_buffer(last, tensor)
