"""What may be given as example inputs, told before anything is traced."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from l0compile.errors import CaptureError
from l0compile.frontend.dense_tensors import refuse_unusual
from l0compile.ir.tensors import resolved


def check_containers(args: Any, kwargs: Any) -> None:
    """Refuse a tensor, or the mapping that a tokenizer gives, in the place of a tuple of arguments.

    Raises:
        CaptureError: ``args`` is not a sequence, or ``kwargs`` is neither None nor a mapping.
    """
    if not isinstance(args, Sequence) or isinstance(args, str):
        advice = "give it as kwargs=" if isinstance(args, Mapping) else "write (x,) for a single one"
        raise CaptureError(f"example inputs: expected a tuple of them, got a {type(args).__name__}; {advice}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        raise CaptureError(
            f"example inputs: expected kwargs to be a dict by argument name, got a {type(kwargs).__name__}"
        )


def check_inputs(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse inputs that hold other things than dense tensors in main memory where tensors belong.

    Raises:
        CaptureError: the message names the input.
    """
    for path, leaf in pytree.tree_leaves_with_path((tuple(args), dict(kwargs))):
        where = f"example input {pytree.keystr(path[1:])}"
        if isinstance(leaf, torch.Tensor):
            refuse_unusual(where, resolved(leaf))
        elif isinstance(leaf, np.ndarray):
            raise CaptureError(
                f"{where}: expected a torch.Tensor, got a NumPy array; torch.from_numpy makes one"
            )
