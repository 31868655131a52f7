"""How far roundings to integers move a model's own answer.

A number at the border of two levels gets the one or the other by its last bit, and the last bits of compiled float
arithmetic (sums in another order, another polynomial for GELU) differ from PyTorch's. Such a model has no single answer
to within float rounding; what it has is measured, by disturbing the last bits before each rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_SEEDS = 3
# Relative. Kernels and PyTorch differ by about a tenth of this before a rounding.
_LAST_BITS = 1e-5
# The largest of a few trials is no bound: compiled code may differ by this much more.
_MARGIN = 4.0
# Operators that round a tensor, their first operand, to integers -> 1 / scale from their second one.
_INVERSE: dict[str, Callable[[Any], Tensor]] = {
    "l0compile::quantize": lambda inverse: inverse,
    "quantized_decomposed::quantize_per_tensor": lambda scale: torch.tensor([1.0 / scale]),
}


class LastBits(TorchDispatchMode):
    """While active, disturbs the last bits of whatever ``l0compile::quantize`` or PyTorch's own operator rounds.

    Of each operand, the number that is nearest to a border also goes to the other side: where few numbers are rounded,
    noise alone may move none, and compiled code one.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator, self.roundings = torch.Generator().manual_seed(seed), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func``, on a disturbed first operand where it rounds."""
        if func.name() in _INVERSE:
            self.roundings += 1
            args = (self._disturbed(args[0], _INVERSE[func.name()](args[1])), *args[1:])
        return func(*args, **(kwargs or {}))

    def _disturbed(self, x: Tensor, inverse: Tensor) -> Tensor:
        scaled = x * inverse
        if not scaled.numel():
            return x
        to_border = scaled.floor() + 0.5 - scaled
        moved = x * (1.0 + _LAST_BITS * torch.randn(x.shape, generator=self.generator))
        nearest = int(to_border.abs().nan_to_num(1.0).argmin())
        step = 2.0 * to_border.flatten()[nearest]
        flat = moved.reshape(-1)
        flat[nearest] = (x + step / inverse).reshape(-1)[nearest]
        return flat.reshape(x.shape)


def rounding_distance(
    reference: Callable[..., Any],
    call: tuple[tuple[Any, ...], Mapping[str, Any]],
    answer: Any,
    distance: Callable[[Any, Any], float],
) -> float:
    """Measure what compiled code may differ by for its roundings.

    Args:
        reference: the model.
        call: (args, kwargs).
        answer: what ``reference`` gives for it.
        distance: (one answer, another) -> difference, as a share of the largest value.

    Returns:
        A multiple of the largest distance to answers whose last bits were disturbed before each rounding; 0 for a model
        that rounds nothing.
    """
    (args, kwargs), largest = call, 0.0
    for seed in range(_SEEDS):
        with torch.no_grad(), LastBits(seed) as disturbed:
            other = reference(*args, **kwargs)
        if not disturbed.roundings:
            return 0.0
        largest = max(largest, distance(answer, other))
    return _MARGIN * largest
