"""Checks that weights and example inputs are dense tensors in main memory, and sparse weights made dense."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.sparse import SparseSemiStructuredTensor

from l0compile.errors import CaptureError
from l0compile.ir.tensors import oddity

_SPARSE = {
    torch.sparse_coo: "COO",
    torch.sparse_csr: "CSR",
    torch.sparse_csc: "CSC",
    torch.sparse_bsr: "BSR",
    torch.sparse_bsc: "BSC",
}


def refuse_unusual(name: str, tensor: Tensor) -> None:
    """Raise CaptureError for a tensor that is not an ordinary dense one with values.

    Args:
        name: What to call the tensor in the message.
        tensor: A result of :func:`l0compile.ir.tensors.resolved`.
    """
    found = oddity(tensor)
    if found is not None:
        raise CaptureError(
            f"capture: {name}: expected a dense tensor with values in main memory, got {found[0]}; {found[1]}"
        )


@contextmanager
def dense_weights(model: nn.Module | ExportedProgram) -> Iterator[dict[str, str]]:
    """Make sparsely stored weights of ``model`` dense for the duration of the block.

    PyTorch computes the same with both, if it has the operator at all: 2:4 sparse weights are for its GPU kernels. Only
    products of COO weights in 16 bits are less exact there: it rounds after each addend.

    Yields:
        Name of each such weight -> its format.
    """
    found: dict[str, str] = {}
    kept: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
    dense: dict[int, Tensor] = {}  # tied weights stay tied
    for path, module in model.named_modules() if isinstance(model, nn.Module) else ():
        for store in (module._parameters, module._buffers):
            for key, tensor in store.items():
                form = None if tensor is None else _sparse_format(tensor)
                if tensor is None or form is None:
                    continue
                found[f"{path}.{key}" if path else key] = form
                kept.append((store, key, tensor))
                if id(tensor) not in dense:
                    dense[id(tensor)] = _dense(tensor)
                store[key] = dense[id(tensor)]
    try:
        yield found
    finally:
        for store, key, tensor in kept:
            store[key] = tensor


def _sparse_format(tensor: Tensor) -> str | None:
    if isinstance(tensor, SparseSemiStructuredTensor):
        return "2:4"
    form = _SPARSE.get(tensor.layout)
    if form in ("BSR", "BSC"):
        rows, columns = tensor.values().shape[-2:]
        return f"{form} {rows}×{columns}"
    return form


def _dense(tensor: Tensor) -> Tensor:
    values = tensor.detach().to_dense()
    return (
        nn.Parameter(values, requires_grad=tensor.requires_grad)
        if isinstance(tensor, nn.Parameter)
        else values
    )
