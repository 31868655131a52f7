"""Weights that are computed from others: by hooks that may never run, or by parametrizations with a cache."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.weight_norm import WeightNorm

_log = logging.getLogger("l0compile")


def stale_weights(model: nn.Module) -> dict[str, str]:
    """Find weights that differ from what the hook of their module would compute.

    ``load_state_dict`` leaves such weights until the module is called again. Tracing runs hooks: call this before it.

    Returns:
        Module name -> name of the attribute.
    """
    found = {}
    for name, module in model.named_modules():
        for attribute, fresh in _derived(module):
            held = module.__dict__.get(attribute)
            if isinstance(held, Tensor) and not torch.equal(held, fresh):
                found[name] = attribute
    return found


def warn_of_stale(stale: Mapping[str, str], exported: ExportedProgram) -> None:
    """Warn about stale weights of modules that tracing never called: PyTorch uses the old values, and so do we."""
    called = {
        path.partition("@")[0]
        for node in exported.graph.nodes
        for path, _ in (node.meta.get("nn_module_stack") or {}).values()
    }
    for name, attribute in stale.items():
        if name not in called:
            _log.warning(
                "%s.%s is older than the tensors that it is made from (by torch.nn.utils.prune or weight_norm): "
                "PyTorch reads this weight without running the hook that renews it, so the model answers with the old "
                "one, compiled or not. prune.remove() or remove_weight_norm() before load_state_dict avoids that",
                name,
                attribute,
            )


def _derived(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    with torch.no_grad():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                yield hook._tensor_name, hook.apply_mask(module)
            elif isinstance(hook, WeightNorm):
                yield hook.name, hook.compute_weight(module)


@contextmanager
def uncached_parametrizations() -> Iterator[None]:
    """Put the cache of ``torch.nn.utils.parametrize.cached()`` aside for the duration of the block.

    If the user captures a model inside ``cached()``, torch.export would leave fake tensors in the cache, and the model
    itself would compute with them afterwards.
    """
    kept = parametrize._cache
    parametrize._cache = {}
    try:
        yield
    finally:
        parametrize._cache = kept
