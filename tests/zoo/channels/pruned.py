"""Zeros as channel pruning leaves them: whole output channels of convolutions, and norms that are not zero."""

from collections.abc import Callable
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tests.zoo.model import randomise

Net = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def pruned(make: Net, share: float = 0.6, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A net of :data:`tests.zoo.channels.NETS` in eval mode with ``share`` of each convolution's channels dead.

    Weights and biases of a dead channel are exactly zero. Norms have random scales and shifts, and statistics: those
    of the net where a channel lives, random ones where it is dead, so that it is a constant behind them. The signal
    keeps its size from layer to layer. Convolutions whose result is the model's own are left whole.
    """
    torch.manual_seed(seed)
    model, inputs = make()
    randomise(model.eval().requires_grad_(False))
    for name, module in model.named_modules():
        if "Norm" in type(module).__name__ and isinstance(getattr(module, "weight", None), nn.Parameter):
            for parameter, centre in ((module.weight, 1.0), (module.bias, 0.0)):
                parameter.normal_(centre, 0.3)
        if isinstance(module, CONVOLUTIONS) and not _is_result(name):
            if not parametrize.is_parametrized(module):
                module.weight.mul_(1.5)  # so much that ReLU and dead channels do not shrink the signal
            _kill(module, share, seed + crc32(name.encode()))
    _calibrate(model, inputs)
    return model, inputs


def _calibrate(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Running statistics of a call; random ones where nothing varies."""
    norms = [m for m in model.modules() if isinstance(m, _NORMS) and m.running_mean is not None]
    for norm in norms:
        norm.train().momentum = 1.0
    model(*inputs)
    for norm in norms:
        norm.eval()
        dead = norm.running_var < 1e-6
        norm.running_mean[dead] = torch.randn(int(dead.sum())) * 0.2
        norm.running_var[dead] = torch.rand(int(dead.sum())) + 0.5


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
