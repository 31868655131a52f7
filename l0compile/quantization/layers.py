"""Linear layers and convolutions of 8 or 16 bits: the reference that compiled code has to agree with."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.bfloat16 import rounded
from l0compile.ir.ops.quantized import LEVELS  # the module registers the operators

MOST = 127
"""The largest weight in int8; -128 is left out, so that w and -w round alike."""
TOKEN_ZERO = 128
"""What 0 becomes where each token has a level of its own: as many levels are below it as above."""
_LEAST_PEAK = 1e-30


class Quantized(nn.Module):
    """What layers of 8-bit integers have in common: rows of a weight that are rounded, each with its scale.

    Attributes and modes are those of :class:`QuantizedLinear`, for a weight of any shape [n, ...].
    """

    inverse: Tensor
    scale: Tensor
    reach: Tensor
    rounded: Tensor
    kept: Tensor
    offset: Tensor

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        inverse: Tensor,
        scale: Tensor,
        zero_point: int,
        groups: int = 1,
    ) -> None:
        """Round ``weight``; arguments as the attributes.

        Raises:
            InputError: a scale is zero, negative or not finite, or shapes do not belong together.
        """
        super().__init__()
        _check(type(self).__name__, weight, inverse, scale, groups)
        self.weight, self.bias, self.zero_point, self.groups = weight, bias, zero_point, groups
        self.register_buffer("inverse", inverse)
        self.register_buffer("scale", scale)
        self.register_buffer("offset", torch.tensor(zero_point))
        self.register_buffer("kept", weight.detach() != 0, persistent=False)
        self.register_buffer("reach", self._peak(weight.detach()).clamp(min=float(MOST)))
        self.register_buffer("rounded", self._rounded())

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's output for an input; its name is that of PyTorch's layers."""
        if self.training:
            return self._straight_through(input)
        return self._integers(input)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; evaluation after training rounds the weights as they are now."""
        if self.training and not mode:
            self.round()
        super().train(mode)
        return self

    @torch.no_grad()
    def round(self) -> None:
        """Round ``weight`` into ``rounded``. A row that has grown gets a scale that has grown alike."""
        self.scale.copy_(self._scale_now())
        self.rounded.copy_(self._rounded())

    def _integers(self, x: Tensor) -> Tensor:
        """The layer with its input and weight in integers."""
        raise NotImplementedError

    def _quantized(self, x: Tensor) -> Tensor:
        q: Tensor = torch.ops.l0compile.quantize(x, self.inverse, self.zero_point)
        return q

    def _floats(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer in float32."""
        raise NotImplementedError

    def _rows(self, scale: Tensor) -> Tensor:
        """[n] -> as it is multiplied to a weight."""
        return scale.reshape(-1, *[1] * (self.weight.ndim - 1))

    def _units(self, weight: Tensor) -> Tensor:
        return weight / self._columns(self.inverse) / self._rows(self.scale)

    def _columns(self, inverse: Tensor) -> Tensor:
        """1 / scale of each input channel, as it is multiplied to a weight."""
        if self.groups == 1 or inverse.numel() == 1:
            return inverse
        each = inverse.reshape(self.groups, -1, *inverse.shape[1:])
        return each.repeat_interleave(len(self.weight) // self.groups, 0)

    def _peak(self, weight: Tensor) -> Tensor:
        return self._units(weight).flatten(1).abs().amax(1)

    def _rounded(self) -> Tensor:
        units = self._units(self.weight.detach() * self.kept)
        return units.round().clamp(-MOST, MOST).to(torch.int8)

    def _scale_now(self) -> Tensor:
        # Without this, weights that grow in training would be cut off at the largest integer.
        peak = self._peak(self.weight.detach() * self.kept)
        return self.scale * (peak / self.reach).clamp(min=1.0)

    def _straight_through(self, x: Tensor) -> Tensor:
        scaled = x * self.inverse
        step = self._steps(scaled).detach()
        scaled = (scaled / step).clamp(-self.zero_point, LEVELS - self.zero_point)
        scale = self._rows(self._scale_now())
        columns = self._columns(self.inverse)
        units = (self.weight * self.kept / columns / scale).clamp(-MOST, MOST)
        return self._floats(_through(scaled) * step / self.inverse, _through(units) * columns * scale)

    def _steps(self, scaled: Tensor) -> Tensor:
        """What a level of the input is worth, in units of its features' scales."""
        raise NotImplementedError

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.zero_point = int(self.offset)
        self.kept.copy_(self.weight.detach() != 0)

    def _scales(self) -> str:
        each = "one scale" if self.inverse.numel() == 1 else "a scale for each feature"
        return f"bias={self.bias is not None}, inputs: {each}, zero_point={self.zero_point}"


class QuantizedLinear(Quantized):
    """A linear layer of 8-bit integers; [..., k] float32 -> [..., n] float32.

    In evaluation mode it calls ``l0compile::quantize`` and ``l0compile::int8_linear``, and nothing else but what finds
    and applies the levels of tokens, where each has its own. In training
    mode it computes the same in float32 with straight-through gradients (arXiv 1308.3432): rounding counts as the
    identity, clipping as a clamp. Weights that are exactly 0 stay 0 through training. Going from training to
    evaluation mode rounds the trained weights again.

    Attributes:
        weight: [n, k] float32 parameter, the weight before it is rounded.
        bias: [n] float32 parameter, or None.
        inverse: [k] or [1] float32, 1 / scale of each input feature; layers with the same input share the buffer.
        scale: [n] float32; the rounded weight stands for ``rounded * scale[:, None] * inverse``.
        rounded: [n, k] int8.
        zero_point: what an input of 0 becomes.
        kept: [n, k] bool, False where the weight stays 0; not saved, made from the weight.
        one: [1] float32 where each token has a level of its own, 1/127 of its largest magnitude; else None.
    """

    one: Tensor | None

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        inverse: Tensor,
        scale: Tensor,
        zero_point: int,
        per_token: bool = False,
    ) -> None:
        """Round ``weight``; arguments as the attributes.

        Raises:
            InputError: a scale is zero, negative or not finite, or shapes do not belong together.
        """
        super().__init__(weight, bias, inverse, scale, zero_point)
        self.out_features, self.in_features = weight.shape
        self.register_buffer("one", torch.ones(1) if per_token else None, persistent=False)

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(model)``."""
        return f"in_features={self.in_features}, out_features={self.out_features}, {self._scales()}"

    def _integers(self, x: Tensor) -> Tensor:
        call = torch.ops.l0compile.int8_linear
        y: Tensor
        if self.one is None:
            y = call(self._quantized(x), self.rounded, self.scale, self.bias, self.zero_point)
            return y
        scaled = x * self.inverse
        step = token_steps(scaled)
        q = torch.ops.l0compile.quantize(scaled / step, self.one, self.zero_point)
        y = call(q, self.rounded, self.scale, None, self.zero_point) * step
        return y if self.bias is None else y + self.bias

    def _floats(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x, weight, self.bias)

    def _steps(self, scaled: Tensor) -> Tensor:
        return torch.ones((), dtype=scaled.dtype) if self.one is None else token_steps(scaled)


class QuantizedConv2d(Quantized):
    """A convolution of 8-bit integers; [N, C, H, W] float32 -> [N, n, H', W'] float32, or both without N.

    In evaluation mode it calls ``l0compile::quantize`` and ``l0compile::int8_conv2d``, and nothing else; it trains as
    :class:`QuantizedLinear` does.

    Attributes:
        weight: [n, C, kh, kw] float32 parameter, the weight before it is rounded.
        bias: [n] float32 parameter, or None.
        inverse: [C, 1, 1] or [1, 1, 1] float32, 1 / scale of each input channel; layers with the same input share the
            buffer.
        scale: [n] float32; the rounded weight stands for ``rounded * scale[:, None, None, None] * inverse``.
        rounded: [n, C, kh, kw] int8.
        zero_point: what an input of 0 becomes, also around the image.
        kept: [n, C, kh, kw] bool, False where the weight stays 0; not saved, made from the weight.
        stride, padding, dilation: of both axes.
        groups: of channels; the weight is [n, C / groups, kh, kw] then.
    """

    def __init__(
        self,
        weight: nn.Parameter,
        bias: nn.Parameter | None,
        inverse: Tensor,
        scale: Tensor,
        zero_point: int,
        stride: Sequence[int] = (1, 1),
        padding: Sequence[int] = (0, 0),
        dilation: Sequence[int] = (1, 1),
        groups: int = 1,
    ) -> None:
        """Round ``weight``; arguments as the attributes.

        Raises:
            InputError: a scale is zero, negative or not finite, or shapes do not belong together.
        """
        super().__init__(weight, bias, inverse, scale, zero_point, groups)
        self.out_channels, self.in_channels = weight.shape[0], weight.shape[1] * groups
        self.stride, self.padding, self.dilation = tuple(stride), tuple(padding), tuple(dilation)

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(model)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={tuple(self.weight.shape[2:])}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, {self._scales()}"
        )

    def _integers(self, x: Tensor) -> Tensor:
        y: Tensor = torch.ops.l0compile.int8_conv2d(
            self._quantized(x), self.rounded, self.scale, self.bias, self.zero_point, self.stride, self.padding,
            self.dilation, self.groups,
        )  # fmt: skip
        return y

    def _floats(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def _steps(self, scaled: Tensor) -> Tensor:
        return torch.ones((), dtype=scaled.dtype)


class Bfloat16Linear(nn.Module):
    """A linear layer whose factors are rounded to bfloat16 and whose sums are float32; [..., k] -> [..., n] float32.

    Attributes:
        weight: [n, k] float32 parameter, rounded in every call; gradients pass the rounding unchanged.
        bias: [n] float32 parameter, or None.
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight, self.bias = weight, bias

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's output [..., n] for an input [..., k]; its name is that of ``nn.Linear``."""
        if self.training:
            return F.linear(rounded(input), rounded(self.weight), self.bias)
        y: Tensor = torch.ops.l0compile.bfloat16_linear(input, self.weight.bfloat16(), self.bias)
        return y

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(model)``."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


def token_steps(scaled: Tensor) -> Tensor:
    """[..., k] -> [..., 1]: what a level of each token is worth, 1/127 of its largest magnitude."""
    return scaled.abs().amax(-1, keepdim=True).clamp(min=_LEAST_PEAK) * (1.0 / MOST)


def _through(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def _check(layer: str, weight: Tensor, inverse: Tensor, scale: Tensor, groups: int) -> None:
    n, k = weight.shape[0], weight.shape[1] * groups
    ones = (1,) * (weight.ndim - 2)
    if inverse.shape not in ((k, *ones), (1, *ones)) or scale.shape != (n,):
        raise InputError(
            f"{layer}: expected inverse {[k, *ones]} or {[1, *ones]} and scale [{n}] for a weight "
            f"{tuple(weight.shape)}, got {tuple(inverse.shape)} and {tuple(scale.shape)}"
        )
    for name, tensor in (("inverse", inverse), ("scale", scale)):
        if not bool(((tensor > 0) & tensor.isfinite()).all()):
            raise InputError(
                f"{layer}: expected positive finite numbers in {name}, got {tensor.min():g} to "
                f"{tensor.max():g}; give features that are always 0 any positive scale"
            )
