"""Zeros as channel pruning leaves them: whole output channels of convolutions, and norms that are not zero."""

from collections.abc import Callable
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Net = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def pruned(make: Net, share: float = 0.6, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A net of :data:`tests.zoo.channels.NETS` in eval mode with ``share`` of each convolution's channels dead.

    Weights and biases of a dead channel are exactly zero. Norms have random scales, shifts and statistics, so that a
    dead channel is mostly a constant behind them. Convolutions whose result is the model's own are left whole.
    """
    torch.manual_seed(seed)
    model, inputs = make()
    model.eval().requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, _NORMS) and module.running_mean is not None:
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
        if "Norm" in type(module).__name__ and isinstance(getattr(module, "weight", None), nn.Parameter):
            for parameter, centre in ((module.weight, 1.0), (module.bias, 0.0)):
                parameter.normal_(centre, 0.3)
        if isinstance(module, CONVOLUTIONS) and not _is_result(name):
            _kill(module, share, seed + crc32(name.encode()))
    return model, inputs


def _kill(module: nn.Module, share: float, seed: int) -> None:
    """Zero rows, their bias, and under weight norm their length."""
    channels = module.out_channels
    order = torch.randperm(channels, generator=torch.Generator().manual_seed(seed))
    dead = order[: round(share * channels)]
    if module.bias is not None:
        module.bias.normal_(0, 0.2)
        module.bias[dead] = 0.0
    transposed = isinstance(module, CONVOLUTIONS[3:])
    if not parametrize.is_parametrized(module):
        module.weight.index_fill_(int(transposed), dead, 0.0)
    elif transposed:  # its lengths are those of input channels
        module.parametrizations.weight.original1.index_fill_(1, dead, 0.0)
    else:
        module.parametrizations.weight.original0.index_fill_(0, dead, 0.0)


def _is_result(name: str) -> bool:
    """Whether a layer's channels are those of the model's result, which nobody prunes."""
    of_yolo = name.startswith("detect.") and name.endswith(".2")
    return of_yolo or not {"out", "post", "ending", "boxes", "classes", "place"}.isdisjoint(name.split("."))
