"""``l0compile::gate``: multiply blocks of a tensor by the entries of a small grid, as one graph node.

It is one operator, and not a broadcast multiplication, so that a gate can be recognised after ``torch.export``,
whatever its block shape.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from l0compile.errors import GateError


def grid_shape(sizes: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of the block grid over ``sizes``: ``ceil(size / block)`` per dimension (the last block may be ragged)."""
    return tuple(-(-size // edge) for size, edge in zip(sizes, block, strict=True))


@torch.library.custom_op("l0compile::gate", mutates_args=())
def gate(x: Tensor, z: Tensor, block: list[int]) -> Tensor:
    """Multiply every block of ``x`` by its entry of ``z``.

    Args:
        x: ``[..., s_1, ..., s_m]`` with ``m = len(block)``; any floating dtype, any strides.
        z: ``[ceil(s_1 / block[0]), ..., ceil(s_m / block[m-1])]``, dtype of ``x``.
        block: edge lengths in elements, one for each gated (trailing) dimension of ``x``.

    Returns:
        A new contiguous tensor of the shape and dtype of ``x``.

    Raises:
        GateError: ``z`` is not the block grid of ``x``, or its dtype differs.
    """
    _check(x, z, block)
    return _multiply(x, z, block)


@gate.register_fake
def _(x: Tensor, z: Tensor, block: list[int]) -> Tensor:
    _check(x, z, block)
    return x.new_empty(x.shape)


def _check(x: Tensor, z: Tensor, block: list[int]) -> None:
    if not 1 <= len(block) <= x.ndim or min(block) < 1:
        raise GateError(
            f"l0compile::gate: block must have 1 to {x.ndim} positive edges for x of shape {tuple(x.shape)}, "
            f"got {block}"
        )
    if z.dtype != x.dtype:
        raise GateError(
            f"l0compile::gate: expected z of dtype {x.dtype} (that of x), got {z.dtype}; cast z first"
        )
    expected = grid_shape(tuple(x.shape[-len(block) :]), tuple(block))
    # A symbolic size cannot be compared without adding a guard on it, so only known sizes are checked.
    known = all(isinstance(size, int) for size in (*expected, *z.shape))
    if z.ndim != len(block) or (known and tuple(z.shape) != expected):
        raise GateError(
            f"l0compile::gate: expected z of shape {expected} for x {tuple(x.shape)} in blocks {block}, "
            f"got {tuple(z.shape)}"
        )


def _multiply(x: Tensor, z: Tensor, block: list[int]) -> Tensor:
    """``x * kron(z, ones(block))``, with the outer dimensions broadcast through views where blocks divide sizes."""
    lead, sizes = x.shape[: -len(block)], x.shape[-len(block) :]
    last = z
    if block[-1] > 1 and z.shape[-1] > 1:  # A contiguous last dimension keeps the multiply vectorised.
        last = z.repeat_interleave(block[-1], -1)[..., : sizes[-1]]
    if all(
        grid == 1 or size == grid * edge
        for size, grid, edge in zip(sizes[:-1], z.shape[:-1], block[:-1], strict=True)
    ):
        outer = [(grid, size // grid) for size, grid in zip(sizes[:-1], z.shape[:-1], strict=True)]
        wide = x.reshape(*lead, *(n for pair in outer for n in pair), sizes[-1])
        narrow = last.reshape(*(n for grid, _ in outer for n in (grid, 1)), last.shape[-1])
        return (wide * narrow).reshape(x.shape).contiguous()
    for dim, (size, edge) in enumerate(zip(sizes[:-1], block[:-1], strict=True)):
        last = last.repeat_interleave(edge, dim).narrow(dim, 0, size)
    return (x * last).contiguous()


def block_sum(x: Tensor, grid: Sequence[int], block: Sequence[int]) -> Tensor:
    """The sum of ``x`` ``[..., s_1, ..., s_m]`` over leading dimensions and inside each block: ``[*grid]``."""
    total = x.reshape(-1, *x.shape[-len(block) :]).sum(0) if x.ndim > len(block) else x
    sizes = list(zip(grid, block, total.shape, strict=True))
    padding = [n for count, edge, size in reversed(sizes) for n in (0, count * edge - size)]
    if any(padding):
        total = torch.nn.functional.pad(total, padding)
    paired = total.reshape([n for count, edge, _ in sizes for n in (count, edge)])
    return paired.sum(tuple(range(1, 2 * len(block), 2)))


def _product_sum(x: Tensor, y: Tensor, grid: Sequence[int], block: list[int]) -> Tensor:
    """``block_sum(x * y, grid, block)``."""
    if not x.ndim == len(block) == 2 or x.shape[0] != grid[0] * block[0] or block[0] > 16:
        return block_sum(x * y, grid, block)
    # Blocks of a weight, the common case: one pass over x and y, and no temporary of their size.
    xs, ys = (t.reshape(grid[0], block[0], x.shape[1]) for t in (x, y))
    total = xs[:, 0] * ys[:, 0]
    for row in range(1, block[0]):
        total.addcmul_(xs[:, row], ys[:, row])
    return total if block[1] == 1 else block_sum(total, grid, [1, block[1]])


class _GateProduct(torch.autograd.Function):
    """The operator without the layers that PyTorch puts around one in Python, which cost a twentieth of a step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, z: Tensor, block: list[int]) -> Tensor:
        _check(x, z, block)
        _setup(ctx, (x, z, block), x)
        return _multiply(x, z, block)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, z = ctx.saved_tensors
        grad_x = _multiply(grad, z, ctx.block) if ctx.needs_input_grad[0] else None
        grad_z = _product_sum(grad, x, ctx.grid, ctx.block) if ctx.needs_input_grad[1] else None
        return grad_x, grad_z, None


def gate_in_training(x: Tensor, z: Tensor, block: list[int]) -> Tensor:
    """Return ``l0compile::gate`` of the arguments, computed without the operator: no graph can tell that it was a gate.

    Args:
        x: as of the operator.
        z: as of the operator.
        block: as of the operator.

    Raises:
        GateError: as of the operator.
    """
    if block == [1]:  # one gate for each feature: PyTorch's own product is the quickest
        if z.shape != x.shape[-1:] or z.dtype != x.dtype:
            _check(x, z, block)
        return x * z
    return _GateProduct.apply(x, z, block)


def _setup(ctx: Any, inputs: tuple[Tensor, Tensor, list[int]], output: Tensor) -> None:
    x, z, block = inputs
    ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, z)
    ctx.block, ctx.grid = block, z.shape


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    x, z = ctx.saved_tensors
    grad_x = torch.ops.l0compile.gate(grad, z, ctx.block) if ctx.needs_input_grad[0] else None
    grad_z = _product_sum(grad, x, ctx.grid, ctx.block) if ctx.needs_input_grad[1] else None
    return grad_x, grad_z, None


gate.register_autograd(_backward, setup_context=_setup)
