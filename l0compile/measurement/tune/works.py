"""What to tune: the kernels of a model, or layers of given shapes, as they are and as pruning would leave them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from l0compile.errors import ConfigError
from l0compile.frontend.export import capture
from l0compile.hardware.costs import Work
from l0compile.hardware.costs.record import density_class
from l0compile.hardware.targets import Target
from l0compile.kernels.token_tile import token_tile
from l0compile.lower.works import works as works_of_program
from l0compile.rewrite.pipeline import assign_layouts, optimise


def model_works(
    model: Any,
    args: Sequence[Any],
    target: Target,
    dynamic_shapes: Mapping[str, Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> tuple[Work, ...]:
    """The works of one call of a model on example inputs, each once, at the densities that are measured.

    Raises: CaptureError when the model cannot be exported.
    """
    tile = token_tile(target)
    program = optimise(capture(model, args, kwargs, dynamic_shapes=dynamic_shapes), target)
    packed = assign_layouts(program, lanes=tile.lanes, rows=tile.rows)
    found = (work for _, work in works_of_program(packed) if work is not None)
    return tuple(dict.fromkeys(replace(work, density=density_class(work.density)) for work in found))


def shape_works(shapes: Iterable[str], tokens: Sequence[int]) -> tuple[Work, ...]:
    """Dense linear layers of ``OUTxIN`` features. Raises: ConfigError for other text."""
    found = []
    for text in shapes:
        match = re.fullmatch(r"([1-9]\d{0,6})x([1-9]\d{0,6})", text)
        if match is None:
            raise ConfigError(f"tune: shape: expected OUTxIN such as 3072x768, got {text!r}")
        found += [Work("linear", (int(match[1]), int(match[2])), tokens=count) for count in tokens]
    return tuple(found)


def pruned(
    works: Sequence[Work], blocks: Iterable[tuple[int, int]], densities: Iterable[float]
) -> tuple[Work, ...]:
    """``works``, and each linear layer among them in each block shape at each density."""
    layers = [work for work in works if work.op == "linear"]
    more = (replace(w, block=b, density=d) for b in blocks for d in densities for w in layers)
    return tuple(dict.fromkeys([*works, *more]))
