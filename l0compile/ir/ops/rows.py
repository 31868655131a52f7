"""Linear layers whose tokens and results lie in rows, as the caller has them: nothing is packed outside the kernel."""

import torch
from torch import Tensor

from l0compile.ir.ops.activation import activate
from l0compile.ir.ops.bsr import bsr_linear, from_dense_blocks


@torch.library.custom_op("l0compile::rows_linear", mutates_args=())
def rows_linear(x: Tensor, data: Tensor, bias: Tensor | None, n: int, activation: str) -> Tensor:
    """activation(W x + bias): x [..., k] -> [..., n]; ``data`` is W [n, k] in ``dense_blocks``."""
    y = torch.nn.functional.linear(x, from_dense_blocks(data, n, x.shape[-1]), bias)
    return activate(y, activation)


@rows_linear.register_fake
def _(x: Tensor, data: Tensor, bias: Tensor | None, n: int, activation: str) -> Tensor:
    return x.new_empty(*x.shape[:-1], n)


@torch.library.custom_op("l0compile::rows_bsr_linear", mutates_args=())
def rows_bsr_linear(
    x: Tensor, data: Tensor, indices: Tensor, indptr: Tensor, bias: Tensor | None, n: int, activation: str
) -> Tensor:
    """activation(W x + bias): x [..., k] -> [..., n] with W [n, k] in blocks, as ``l0compile::bsr_linear`` has it."""
    return activate(bsr_linear(x, data, indices, indptr, bias, n, x.shape[-1]), activation)


@rows_bsr_linear.register_fake
def _(
    x: Tensor, data: Tensor, indices: Tensor, indptr: Tensor, bias: Tensor | None, n: int, activation: str
) -> Tensor:
    return x.new_empty(*x.shape[:-1], n)
