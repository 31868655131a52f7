"""Convolutions in ``l0.quantize``: what they see, what they compute, how they train, and which stay as they are."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.errors import ConfigError
from l0compile.ir.ops.int8_conv import without_groups
from l0compile.quantization import QuantizedConv2d, QuantizedLinear
from l0compile.quantization.convolution import SeenWindows, why_not_convolution

OPTIONS: list[dict[str, object]] = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    {"padding": "same"},
    {"padding": "valid", "bias": False},
]


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).detach().square().mean() / wanted.detach().square().mean())


def images(count: int = 4, channels: int = 6, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, channels, 9, 8, generator=generator) for _ in range(count)]


def quantized(zeros: bool = False, zero_point: int = 120) -> QuantizedConv2d:
    torch.manual_seed(1)
    weight = torch.randn(8, 6, 3, 3)
    if zeros:
        weight[torch.rand(8, 6, 3, 3) < 0.5] = 0.0
    inverse, scale = 20 + 10 * torch.rand(6, 1, 1), torch.full((8,), 0.002)
    parts = nn.Parameter(weight), nn.Parameter(torch.randn(8)), inverse, scale, zero_point
    return QuantizedConv2d(*parts, stride=(2, 1), padding=(1, 2)).eval()


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_windows_are_what_the_weight_is_multiplied_by(
    kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> None:
    conv, x = nn.Conv2d(4, 3, kernel, stride, padding, dilation), torch.randn(2, 4, 9, 8)
    seen = SeenWindows(conv, x)
    wanted = F.unfold(x, kernel, dilation, padding, stride).transpose(1, 2).flatten(0, 1)
    assert seen.count == len(wanted)
    chosen = torch.randperm(seen.count)[:5].sort().values
    assert torch.equal(seen.take(chosen), wanted[chosen])
    assert torch.equal(seen.peak, x.abs().amax((0, 2, 3)).repeat_interleave(kernel[0] * kernel[1]))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rounding", ["nearest", "compensated"])
def test_a_convolution_answers_nearly_the_same(options: dict[str, object], rounding: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 8, 3, **options), nn.ReLU(), nn.Conv2d(8, 5, 1)).eval()  # type: ignore[arg-type]
    narrow = l0.quantize(model, images(), rounding=rounding)
    (x,) = images(1, seed=1)
    assert isinstance(narrow[0], QuantizedConv2d) and isinstance(narrow[2], QuantizedConv2d)
    assert narrow(x).shape == model(x).shape and relative(narrow(x), model(x)) < 1e-3
    assert torch.equal(narrow(x[0]), narrow(x)[0])


def test_both_modes_compute_the_same() -> None:
    layer, (x,) = quantized(zeros=True), images(1)
    wanted, rounded = layer(x), layer.rounded.clone()
    assert torch.allclose(layer.train()(x), wanted, atol=1e-4, rtol=1e-4)
    assert torch.equal(layer.eval().rounded, rounded)
    assert bool((layer.rounded[layer.weight == 0] == 0).all())


def test_the_border_counts_as_zero() -> None:
    layer = quantized(zero_point=100)
    with torch.no_grad():
        assert torch.equal(layer(torch.zeros(1, 6, 5, 5)), layer.bias[:, None, None].expand(1, 8, 3, 7))


def test_training_moves_weights_but_not_zeros() -> None:
    layer, x = quantized(zeros=True), torch.cat(images())
    closed, wanted = layer.weight.detach() == 0, torch.randn_like(layer(x))
    layer.train()
    optimiser = torch.optim.AdamW(layer.parameters(), 0.05)
    losses = []
    for _ in range(20):
        loss = (layer(x) - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert closed.any() and bool((layer.weight[closed] == 0).all())
    trained = layer(x).detach()
    assert torch.allclose(layer.eval()(x), trained, atol=1e-4, rtol=1e-4)


def test_a_state_dict_restores_the_layer() -> None:
    one, other = quantized(zeros=True), quantized(zero_point=40)
    other.load_state_dict(one.state_dict())
    (x,) = images(1)
    assert other.zero_point == one.zero_point and torch.equal(other(x), one(x))


def test_export_sees_the_two_operators_alone() -> None:
    exported = torch.export.export(quantized(), (images(1)[0],))
    called = [node.target for node in exported.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.l0compile.quantize.default, torch.ops.l0compile.int8_conv2d.default]


class Branches(nn.Module):
    """Two 1x1 convolutions and a 3x3 one of the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.strided = nn.Conv2d(6, 8, 1), nn.Conv2d(6, 4, 1, 2)
        self.wide = nn.Conv2d(6, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(x)
        return self.one(y)[:, :4, ::2, ::2] + self.strided(y) + self.wide(y)


def test_convolutions_of_one_input_share_scales_where_their_windows_are_alike() -> None:
    narrow = l0.quantize(Branches().eval(), images())
    assert narrow.one.inverse is narrow.strided.inverse and narrow.one.inverse.shape in ((6, 1, 1), (1, 1, 1))
    assert narrow.wide.inverse is not narrow.one.inverse


class Mirrored(nn.Conv2d):
    """A convolution that does something else."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.flip(-1))


STAYING: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), "'reflect'"),
    (lambda: nn.Conv2d(6, 4, 2, padding="same"), "two sides"),
    (lambda: Mirrored(6, 4, 1), "Mirrored has a forward of its own"),
    (lambda: nn.Conv2d(6, 4, 1).bfloat16(), "torch.bfloat16"),
]


@pytest.mark.parametrize(("make", "reason"), STAYING, ids=[reason for _, reason in STAYING])
def test_what_cannot_be_made_narrow_stays_and_says_why(make: Callable[[], nn.Module], reason: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = make(), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            dtype = self.conv.weight.dtype
            return self.conv(x.to(dtype)), self.head(x.mean((2, 3)))

    narrow = l0.quantize(Net().eval(), images())
    conv, head = narrow.quantization
    assert (conv.name, conv.precision, head.precision) == ("conv", "float32", "int8")
    assert reason in conv.reason


def test_groups_whose_matrix_is_too_large_stay() -> None:
    reason = why_not_convolution(nn.Conv2d(8192, 8192, 3, groups=8192))
    assert reason is not None and "8192 groups" in reason


def test_groups_are_zeros_of_a_larger_weight() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 12, 3, 2, 1, groups=3, bias=False)
    wide = without_groups(conv.weight.detach(), 3)
    (x,) = images(1)
    torch.testing.assert_close(nn.functional.conv2d(x, wide, None, 2, 1), conv(x))
    assert int((wide != 0).sum()) == conv.weight.numel()


@pytest.mark.parametrize("groups", [2, 6])
def test_grouped_convolutions_are_narrow(groups: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(6, 12, 3, padding=1, groups=groups), nn.ReLU(), nn.Conv2d(12, 5, 1)
    ).eval()
    narrow = l0.quantize(model, images())
    (x,) = images(1, seed=1)
    assert [layer.precision for layer in narrow.quantization] == ["int8"] * 2
    assert relative(narrow(x), model(x)) < 1e-3
    wanted = narrow(x)
    assert torch.allclose(narrow.train()(x), wanted, atol=1e-3, rtol=1e-3)


def test_the_first_layer_of_pictures_stays() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    records = l0.quantize(model, images(channels=2)).quantization
    assert [record.precision for record in records] == ["float32", "int8"] and "2 input channels" in records[
        0
    ].reason


def test_a_model_without_any_layer_to_narrow_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"nn\.Conv2d of 3 or more input channels"):
        l0.quantize(nn.Sequential(nn.Conv2d(2, 6, 1)), images(channels=2))


def test_bfloat16_leaves_convolutions_alone() -> None:
    model = nn.Sequential(nn.Conv2d(6, 8, 1), nn.Flatten(), nn.Linear(576, 2)).eval()
    narrow = l0.quantize(model, images(), "bfloat16")
    assert [record.precision for record in narrow.quantization] == ["float32", "bfloat16"]
    assert "bfloat16" in narrow.quantization[0].reason and type(narrow[0]) is nn.Conv2d


def test_gates_that_act_in_every_call_keep_a_convolution_as_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    l0.attach(model, {"0": l0.Layer()})
    model = l0.harden(model, 1.0)
    narrow = l0.quantize(model, images())
    (x,) = images(1)
    first, second = narrow.quantization
    assert second.precision == "int8" and (first.precision == "int8" or "gates" in first.reason)
    assert relative(narrow(x), model(x)) < 1e-3


def test_exact_zeros_stay_zeros() -> None:
    model = nn.Sequential(nn.Conv2d(6, 8, 3)).eval()
    with torch.no_grad():
        model[0].weight[torch.rand(8, 6, 3, 3) < 0.7] = 0.0
    for rounding in ("nearest", "compensated"):
        narrow = l0.quantize(model, images(), rounding=rounding)
        assert bool((narrow[0].rounded[model[0].weight == 0] == 0).all())


def test_linear_layers_after_convolutions_are_narrow_too() -> None:
    model = nn.Sequential(nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()
    narrow = l0.quantize(model, images())
    assert isinstance(narrow[3], QuantizedLinear)
