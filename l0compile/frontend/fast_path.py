"""The fast path of ``nn.TransformerEncoder``, which eager calls take and exported graphs do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Let eager calls compute what tracing sees.

    With a ``src_key_padding_mask``, ``nn.TransformerEncoder`` in eval mode skips padding and returns zeros for it.
    Tracing never takes that path and computes a padded token like any other.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def has_fast_path(model: Any) -> bool:
    """Return whether an eager call of ``model`` may return zeros for padding where its graph does not."""
    if not isinstance(model, nn.Module):
        return False
    encoders = [module for module in model.modules() if isinstance(module, nn.TransformerEncoder)]
    return any(getattr(encoder, "use_nested_tensor", False) for encoder in encoders)
