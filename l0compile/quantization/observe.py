"""What layers see on calibration data: a bounded sample of rows, the peak of each feature, who shares an input.

A row is what a weight is multiplied by: the features of one place for a linear layer, a window for a convolution.

One pass over the data. A layer's sample is a uniform one of all rows that it saw, whatever their number.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError, DataError
from l0compile.quantization.convolution import SeenWindows

_WINDOWS = 512


class Observed:
    """The inputs of one layer.

    Attributes:
        rows: [at most ``samples``, k] float32, drawn uniformly from the inputs.
        peak: [k] float32, the largest magnitude of each feature in all inputs.
        calls: the number of the tensor that each call got; equal lists mean the very same inputs.
        kernel: height and width of the windows that rows are; empty for a linear layer.
    """

    def __init__(self, width: int, samples: int, kernel: tuple[int, ...] = ()) -> None:
        self.rows, self.peak = torch.empty(0, width), torch.zeros(width)
        self.calls: list[int] = []
        self.kernel = kernel
        self._samples, self._keys = samples, torch.empty(0)
        # All layers draw alike, so those with the same inputs have the same sample.
        self._generator = torch.Generator().manual_seed(0)

    def add(self, x: Tensor) -> None:
        """Add inputs [rows, k]."""
        self.draw(len(x), x.__getitem__, x.abs().amax(0))

    def draw(self, count: int, take: Callable[[Tensor], Tensor], peak: Tensor) -> None:
        """Add ``count`` inputs, of which only the chosen ones are taken.

        Args:
            count: inputs to choose from; those with the largest random keys so far are the sample.
            take: numbers of some of them [s] -> their rows [s, k].
            peak: [k], the largest magnitudes.
        """
        self.peak = torch.maximum(self.peak, peak)
        known = len(self._keys)
        keys = torch.cat([self._keys, torch.rand(count, generator=self._generator)])
        chosen = keys.topk(min(self._samples, len(keys))).indices.sort().values
        added = take(chosen[chosen >= known] - known)
        self.rows, self._keys = torch.cat([self.rows[chosen[chosen < known]], added]), keys[chosen]


class _Tensors:
    """Numbers for tensors: the same number for the same object while nobody has written to it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}
        self._count = 0

    def number(self, tensor: Tensor) -> int:
        version = 0 if tensor.is_inference() else tensor._version
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == version:
            return known[2]
        self._count += 1
        self._known[id(tensor)] = (weakref.ref(tensor), version, self._count)
        return self._count


def observe(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    widths: Mapping[str, int],
    batches: Iterable[object],
    forward: Callable[[nn.Module, Any], object] | None = None,
    samples: int = 1024,
) -> dict[str, Observed]:
    """Run the model on calibration batches and note what its layers see.

    Args:
        model: in evaluation mode.
        layers: name -> layer; one call takes one tensor, [..., k] float32 for a linear layer, and images for an
            ``nn.Conv2d`` that :func:`l0compile.quantization.convolution.why_not_convolution` has nothing against.
        widths: name -> k, the columns of the weight as a matrix.
        batches: mappings (called as ``model(**batch)``), tuples or lists (``model(*batch)``), or single inputs.
        forward: called as ``forward(model, batch)`` instead.
        samples: rows to keep of each layer's inputs.

    Returns:
        Name -> what it saw; layers that never ran have no rows.

    Raises:
        ConfigError: ``batches`` is one batch and no iterable of them.
        DataError: there is no batch, or a layer's input is not finite.
    """
    _check_batches(batches)
    found = {name: _fresh(layer, widths[name], samples) for name, layer in layers.items()}
    tensors, count = _Tensors(), 0
    hooks = [
        layer.register_forward_pre_hook(partial(_note, name, found[name], tensors), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            for count, batch in enumerate(batches, start=1):
                try:
                    (forward or _call)(model, batch)
                except _NotFiniteError as error:
                    raise DataError(f"quantize: calibration batch {count}: {error}") from None
    finally:
        for hook in hooks:
            hook.remove()
    if not count:
        raise DataError(
            "quantize: calibration: expected at least one batch, got none; a generator that was read before is empty"
        )
    return found


class _NotFiniteError(ValueError):
    """An input holds NaN or infinity."""


def _note(
    name: str,
    seen: Observed,
    tensors: _Tensors,
    layer: nn.Module,
    args: tuple[Any, ...],
    named: dict[str, Any],
) -> None:
    x = args[0] if args else next(iter(named.values()))
    seen.calls.append(tensors.number(x))
    values = x.detach().float()
    if not values.numel():
        return
    if not bool(values.isfinite().all()):
        raise _NotFiniteError(
            f"expected finite inputs of layer {name!r}, got NaN or infinity; check the batch, or leave out rows that "
            "are masked entirely"
        )
    if isinstance(layer, nn.Conv2d):
        windows = SeenWindows(layer, values)
        seen.draw(windows.count, windows.take, windows.peak)
    else:
        seen.add(values.reshape(-1, values.shape[-1]))


def _fresh(layer: nn.Module, width: int, samples: int) -> Observed:
    if not isinstance(layer, nn.Conv2d):
        return Observed(width, samples)
    height, length = layer.weight.shape[2:]
    # A window holds as many values of each channel as it has taps.
    return Observed(width, max(min(samples, _WINDOWS), samples // (height * length)), (height, length))


def _call(model: nn.Module, batch: object) -> object:
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple | list) else model(batch)


def _check_batches(batches: object) -> None:
    if isinstance(batches, Tensor | Mapping) or not isinstance(batches, Iterable):
        raise ConfigError(
            f"quantize: calibration: expected an iterable of batches, got one {type(batches).__name__}; write "
            "[batch] for a single one"
        )
