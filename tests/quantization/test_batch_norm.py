"""Batch norms are folded into convolutions before these are rounded, where nothing else reads a convolution."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

import l0compile as l0
from l0compile.quantization.batch_norm import Watched, norms_after


def scrambled(model: nn.Module) -> nn.Module:
    """``model`` in evaluation mode, with statistics as after training."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


class Net(nn.Module):
    """A convolution, a batch norm and ``how`` they are used."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(
            8, affine=how != "plain", track_running_stats=how != "statistics of the batch"
        )
        self.last = nn.Conv2d(8, 8, 1)
        if how == "two names":
            self.other = self.norm

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.how == "read twice":
            return self.last(self.norm(y)) + y
        if self.how == "called twice":
            return self.last(self.norm(y) + self.norm(self.last(y)))
        if self.how == "something between":
            y = F.relu(y)
        if self.how == "decided by numbers" and float(x.sum()) > 1e9:
            return y
        return self.last(F.relu(self.norm(y)))


def images(count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 6, 9, 8, generator=generator) for _ in range(count)]


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().square().mean() / wanted.detach().square().mean())


@pytest.mark.parametrize("how", ["", "plain", "no bias"])
def test_the_copy_holds_the_folded_weight(how: str) -> None:
    model = scrambled(Net(how))
    if how == "no bias":
        model.conv.bias = None
    before = copy.deepcopy(model.state_dict())
    narrow = l0.quantize(model, images())
    assert type(narrow.norm) is nn.Identity and [r.precision for r in narrow.quantization] == ["int8", "int8"]
    assert torch.equal(narrow.conv.weight, fuse_conv_bn_eval(model.conv, model.norm).weight)
    (x,) = images(1)
    assert relative(narrow(x), model(x)) < 1e-3
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "how",
    [
        "read twice",
        "called twice",
        "something between",
        "two names",
        "statistics of the batch",
        "decided by numbers",
    ],
)
def test_others_stay(how: str) -> None:
    model = scrambled(Net(how))
    narrow = l0.quantize(model, images())
    assert type(narrow.norm) is nn.BatchNorm2d
    (x,) = images(1)
    assert relative(narrow(x), model(x)) < 1e-2


def test_a_norm_with_a_hook_stays() -> None:
    model = scrambled(Net())
    model.norm.register_forward_hook(lambda module, args, result: result + 1)
    assert type(l0.quantize(model, images()).norm) is nn.BatchNorm2d


def test_a_convolution_that_stays_float32_keeps_its_norm() -> None:
    narrow = l0.quantize(scrambled(Net()), images(), tolerance=0.0)
    assert type(narrow.norm) is nn.BatchNorm2d and type(narrow.conv) is nn.Conv2d


class Around(nn.Module):
    """Code that cannot be traced around code that can; with ``alone`` it also calls the convolution inside of it."""

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone, self.net = alone, Net()

    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) > 1e9:
            return x
        y = self.net(x)
        return y + self.net.conv(x) if self.alone else y


@pytest.mark.parametrize("alone", [False, True])
def test_parts_of_a_model_that_cannot_be_traced(alone: bool) -> None:
    model = scrambled(Around(alone))
    assert norms_after(model) == [(model.net.conv, model.net.norm)]
    narrow = l0.quantize(model, images())
    assert (type(narrow.net.norm) is nn.Identity) == (not alone)
    (x,) = images(1)
    assert relative(narrow(x), model(x)) < 1e-3


def test_what_was_watched_is_left_as_it_was() -> None:
    model = scrambled(Net())
    watched = Watched(norms_after(model))
    assert watched.confirmed() == {model.conv: model.norm}
    assert not model.conv._forward_hooks and not model.norm._forward_pre_hooks
