"""A model of timm, pruned by a third of its channels with torch.nn.utils.prune, and compiled.

    python examples/timm_model.py [NAME]

NAME is one of `timm.list_models()`. Weights are random: pass pretrained=True to `create_model` for trained ones, which
timm downloads. Needs timm.
"""

import sys

import timm
import torch
from torch import nn
from torch.nn.utils import prune

import l0compile as l0


def prune_channels(model: nn.Module, share: float) -> nn.Module:
    """Set the weakest output channels of every ordinary convolution to zero, by the norm of their weights."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.out_channels >= 8:
            prune.ln_structured(module, "weight", share, n=2, dim=0)
            prune.remove(module, "weight")
    return model


def main(name: str = "resnet18", size: int = 224) -> None:
    """Compile the model, and print what became of the zeros."""
    model = prune_channels(timm.create_model(name, pretrained=False).eval(), 0.33)
    x = torch.randn(1, 3, size, size)
    compiled = l0.compile(model, (x,))
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-3, atol=1e-4)
    print(compiled.explain())


if __name__ == "__main__":
    main(*sys.argv[1:2])
