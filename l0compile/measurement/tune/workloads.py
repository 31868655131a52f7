"""What to tune: the kernels of a model, or layers of given shapes, as they are and as pruning would leave them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from l0compile.errors import ConfigError
from l0compile.frontend.export import capture
from l0compile.hardware.costs import KernelWorkload
from l0compile.hardware.costs.record import density_class
from l0compile.hardware.targets import Target
from l0compile.ir.ops.words import features_of
from l0compile.kernels.costs import machine_of
from l0compile.lower.backends import backend_of
from l0compile.lower.workloads import workloads
from l0compile.rewrite.pipeline import optimise


def model_workloads(
    model: Any,
    args: Sequence[Any],
    target: Target,
    dynamic_shapes: Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[KernelWorkload, ...]:
    """The workloads of one call of a model on example inputs, each once, at the densities that are measured.

    Args:
        model: an ``nn.Module``.
        args: positional inputs.
        target: what it is compiled for.
        dynamic_shapes: as ``l0compile.compile`` takes them.
        kwargs: inputs by name.

    Raises:
        CaptureError: the model cannot be exported.
    """
    program = optimise(capture(model, args, kwargs, dynamic_shapes=dynamic_shapes), target)
    laid_out = backend_of(target, machine_of(target)).laid_out(program)
    found = (replace(work, density=density_class(work.density)) for work in workloads(laid_out, target.kind))
    return tuple(dict.fromkeys(found))


def shape_workloads(shapes: Iterable[str], tokens: Sequence[int]) -> tuple[KernelWorkload, ...]:
    """Dense linear layers of ``OUTxIN`` features, at each number of tokens.

    Raises:
        ConfigError: a shape is other text.
    """
    found = []
    for text in shapes:
        match = re.fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})", text)
        if match is None:
            raise ConfigError(f"tune: shape: expected OUTxIN such as 3072x768, got {text!r}")
        found += [KernelWorkload("linear", (int(match[1]), int(match[2])), tokens=count) for count in tokens]
    return tuple(found)


def pruned(
    works: Sequence[KernelWorkload], blocks: Iterable[tuple[int, int]], densities: Iterable[float]
) -> tuple[KernelWorkload, ...]:
    """``works``, and each linear layer among them in each block shape at each density.

    A layer of narrow numbers has no kernel for blocks whose columns are not whole words; it is left out there.
    """
    layers = [work for work in works if work.op == "linear"]
    more = (
        replace(w, block=b, density=d)
        for b in blocks
        for d in densities
        for w in layers
        if b[1] % features_of(getattr(torch, w.dtype)) == 0
    )
    return tuple(dict.fromkeys([*works, *more]))


def in_precisions(works: Sequence[KernelWorkload], precisions: Iterable[str]) -> tuple[KernelWorkload, ...]:
    """``works``, and each linear layer among them in each precision."""
    layers = [work for work in works if work.op == "linear"]
    more = (replace(work, dtype=precision) for precision in precisions for work in layers)
    return tuple(dict.fromkeys([*works, *more]))
