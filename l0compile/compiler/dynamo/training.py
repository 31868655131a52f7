"""PyTorch keeps training: compiled weights are constants, and there is no backward pass."""

import functools
import inspect
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from l0compile.errors import CaptureError

_log = logging.getLogger("l0compile")
_FLAGS = ("training", "train", "use_input_stats")


def is_training(graph_module: fx.GraphModule, examples: Sequence[Any]) -> bool:
    """Return whether the graph needs gradients, or holds an operator in training mode."""
    try:
        refuse_training(graph_module, examples)
    except CaptureError:
        return True
    return False


@functools.cache
def warn_of_training() -> None:
    """Warn once that training is not compiled: a training loop makes many graphs."""
    _log.warning(
        "training runs in PyTorch: models in training mode, and calls that need gradients; for inference call "
        "model.eval(), and the model under torch.no_grad() or torch.inference_mode()"
    )


def refuse_training(graph_module: fx.GraphModule, examples: Sequence[Any]) -> None:
    """Refuse a graph of a training loop.

    Raises:
        CaptureError: the graph needs gradients, or holds an operator in training mode.
    """
    tensors = [value for value in examples if isinstance(value, torch.Tensor)]
    tensors += [*graph_module.parameters()]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        raise CaptureError(
            "torch.compile: expected inference, got a call that needs gradients; call the model under "
            "torch.no_grad() or torch.inference_mode()"
        )
    for node in graph_module.graph.nodes:
        if node.op == "call_function" and _in_training_mode(node):
            name = getattr(node.target, "__name__", str(node.target))
            raise CaptureError(
                f"torch.compile: expected a model in eval mode, got {name} in training mode; call model.eval() first"
            )


def _in_training_mode(node: fx.Node) -> bool:
    try:
        signature = inspect.signature(node.target)
        given = signature.bind(*node.args, **node.kwargs)
    except (
        TypeError,
        ValueError,
    ):  # builtins say nothing of their parameters; capture looks at what they become
        return False
    given.apply_defaults()
    return any(given.arguments.get(flag) is True for flag in _FLAGS)
