"""What linear layers see on calibration data: a bounded sample of rows, the peak of each feature, who shares an input.

One pass over the data. A layer's sample is a uniform one of all rows that it saw, whatever their number.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from l0compile.errors import ConfigError, DataError


class Observed:
    """The inputs of one layer.

    Attributes:
        rows: [at most ``samples``, k] float32, drawn uniformly from the inputs.
        peak: [k] float32, the largest magnitude of each feature in all inputs.
        calls: the number of the tensor that each call got; equal lists mean the very same inputs.
    """

    def __init__(self, width: int, samples: int) -> None:
        self.rows, self.peak = torch.empty(0, width), torch.zeros(width)
        self.calls: list[int] = []
        self._samples, self._keys = samples, torch.empty(0)
        # All layers draw alike, so those with the same inputs have the same sample.
        self._generator = torch.Generator().manual_seed(0)

    def add(self, x: Tensor) -> None:
        """Add inputs [rows, k]: the rows with the largest random keys so far are the sample."""
        self.peak = torch.maximum(self.peak, x.abs().amax(0))
        keys = torch.rand(len(x), generator=self._generator)
        if len(self._keys) == self._samples:
            better = keys > self._keys.min()
            x, keys = x[better], keys[better]
        keys = torch.cat([self._keys, keys])
        chosen = keys.topk(min(self._samples, len(keys))).indices.sort().values
        self.rows, self._keys = torch.cat([self.rows, x])[chosen], keys[chosen]


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
        layers: name -> layer; one call takes one tensor [..., k] float32.
        widths: name -> k.
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
    found = {name: Observed(widths[name], samples) for name in layers}
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
    _layer: nn.Module,
    args: tuple[Any, ...],
    named: dict[str, Any],
) -> None:
    x = args[0] if args else next(iter(named.values()))
    seen.calls.append(tensors.number(x))
    rows = x.detach().reshape(-1, x.shape[-1]).float()
    if not len(rows):
        return
    if not bool(rows.isfinite().all()):
        raise _NotFiniteError(
            f"expected finite inputs of layer {name!r}, got NaN or infinity; check the batch, or leave out rows that "
            "are masked entirely"
        )
    seen.add(rows)


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
