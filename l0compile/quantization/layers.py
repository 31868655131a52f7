"""Linear layers that compute with 8 or 16 bits: the reference that compiled code has to agree with."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.bfloat16 import rounded
from l0compile.ir.ops.quantized import LEVELS  # the module registers the operators

MOST = 127
"""The largest weight in int8; -128 is left out, so that w and -w round alike."""


class QuantizedLinear(nn.Module):
    """A linear layer of 8-bit integers; [..., k] float32 -> [..., n] float32.

    In evaluation mode it calls ``l0compile::quantize`` and ``l0compile::int8_linear``, and nothing else. In training
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
    """

    inverse: Tensor
    scale: Tensor
    reach: Tensor
    rounded: Tensor
    kept: Tensor
    offset: Tensor

    def __init__(
        self, weight: nn.Parameter, bias: nn.Parameter | None, inverse: Tensor, scale: Tensor, zero_point: int
    ) -> None:
        """Round ``weight``; arguments as the attributes.

        Raises:
            InputError: a scale is zero, negative or not finite, or shapes do not belong together.
        """
        super().__init__()
        self.out_features, self.in_features = weight.shape
        _check(weight, inverse, scale)
        self.weight, self.bias, self.zero_point = weight, bias, zero_point
        self.register_buffer("inverse", inverse)
        self.register_buffer("scale", scale)
        self.register_buffer("offset", torch.tensor(zero_point))
        self.register_buffer("kept", weight.detach() != 0, persistent=False)
        self.register_buffer("reach", (self._units(weight.detach()).abs().amax(1)).clamp(min=float(MOST)))
        self.register_buffer("rounded", self._rounded())

    def forward(self, input: Tensor) -> Tensor:
        """Return the layer's output [..., n] for an input [..., k]; its name is that of ``nn.Linear``."""
        if self.training:
            return self._straight_through(input)
        q = torch.ops.l0compile.quantize(input, self.inverse, self.zero_point)
        y: Tensor = torch.ops.l0compile.int8_linear(q, self.rounded, self.scale, self.bias, self.zero_point)
        return y

    def train(self, mode: bool = True) -> "QuantizedLinear":
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

    def extra_repr(self) -> str:
        """Return the sizes, for ``print(model)``."""
        each = "one scale" if self.inverse.numel() == 1 else "a scale for each feature"
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"inputs: {each}, zero_point={self.zero_point}"
        )

    def _units(self, weight: Tensor) -> Tensor:
        return weight / self.inverse / self.scale[:, None]

    def _rounded(self) -> Tensor:
        units = self._units(self.weight.detach() * self.kept)
        return units.round().clamp(-MOST, MOST).to(torch.int8)

    def _scale_now(self) -> Tensor:
        # Without this, weights that grow in training would be cut off at the largest integer.
        peak = self._units(self.weight.detach() * self.kept).abs().amax(1)
        return self.scale * (peak / self.reach).clamp(min=1.0)

    def _straight_through(self, x: Tensor) -> Tensor:
        scaled = (x * self.inverse).clamp(-self.zero_point, LEVELS - self.zero_point)
        scale = self._scale_now()[:, None]
        units = (self.weight * self.kept / self.inverse / scale).clamp(-MOST, MOST)
        return F.linear(_through(scaled) / self.inverse, _through(units) * self.inverse * scale, self.bias)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.zero_point = int(self.offset)
        self.kept.copy_(self.weight.detach() != 0)


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


def _through(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def _check(weight: Tensor, inverse: Tensor, scale: Tensor) -> None:
    n, k = weight.shape
    if inverse.shape not in ((k,), (1,)) or scale.shape != (n,):
        raise InputError(
            f"QuantizedLinear: expected inverse [{k}] or [1] and scale [{n}] for a weight {(n, k)}, got "
            f"{tuple(inverse.shape)} and {tuple(scale.shape)}"
        )
    for name, tensor in (("inverse", inverse), ("scale", scale)):
        if not bool(((tensor > 0) & tensor.isfinite()).all()):
            raise InputError(
                f"QuantizedLinear: expected positive finite numbers in {name}, got {tensor.min():g} to "
                f"{tensor.max():g}; give features that are always 0 any positive scale"
            )
