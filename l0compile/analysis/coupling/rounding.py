"""Keep a few dead channels where kernels are faster with them."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from l0compile.analysis.coupling.axes import Link, TensorAxis
from l0compile.analysis.coupling.fixpoint import propagate

# Channels in a vector register. Rounding up to whole registers may cost one channel in so many.
_VECTOR = 16
# Rows that a microkernel computes at once; taller blocks of weights are cut in groups of these.
_ROWS = 4


def round_up(masks: dict[TensorAxis, Tensor], links: list[Link]) -> None:
    """Keep a few dead channels where that makes a whole number of vectors: 121 of 128 are slower than all 128."""
    for axis in sorted(masks, key=lambda item: (item[0], item[1])):
        mask = masks[axis]
        kept = int(mask.sum())
        missing = min(-kept % _VECTOR, len(mask) - kept)
        if 0 < missing <= kept // _VECTOR:
            dead = (~mask).nonzero().reshape(-1)
            mask[dead[:missing]] = True
            propagate(masks, links, {axis})


def keep_blocks(masks: dict[TensorAxis, Tensor], links: list[Link], constants: Mapping[str, Tensor]) -> None:
    """Keep the dead rows inside a block of a weight where most blocks are zero.

    Without them the rows behind would move up, and every block would become parts of two.
    """
    for axis in sorted(masks, key=lambda item: (item[0], item[1])):
        node, position = axis
        weight = constants.get(str(node.target)) if node.op == "get_attr" and position == 0 else None
        if weight is None or weight.ndim < 2 or bool(masks[axis].all()):
            continue
        rows, columns = masks[axis], masks.get((node, 1))
        matrix = (weight if columns is None else weight[:, columns]).flatten(1) != 0
        whole = _whole_blocks(rows)
        if _stored(matrix[whole]) < _stored(matrix[rows]):
            masks[axis] = whole
            propagate(masks, links, {axis})


def _whole_blocks(rows: Tensor) -> Tensor:
    """The rows of all blocks that have one of ``rows``."""
    blocks = F.pad(rows, (0, -len(rows) % _ROWS)).reshape(-1, _ROWS)
    return blocks.any(1, keepdim=True).expand(-1, _ROWS).reshape(-1)[: len(rows)]


def _stored(nonzero: Tensor) -> int:
    """How many numbers a weight is stored in: all those of its blocks, one column wide, that are not zero."""
    blocks = F.pad(nonzero, (0, 0, 0, -len(nonzero) % _ROWS)).reshape(-1, _ROWS, nonzero.shape[1])
    return _ROWS * int(blocks.any(1).sum())
