"""What computes the products of a tile: tensor cores, or multiply-adds."""

from l0compile.kernels.cuda.attention.multiply_add import MultiplyAdd
from l0compile.kernels.cuda.attention.task import CudaOperands, QueryTile
from l0compile.kernels.cuda.attention.tensor_cores import TensorCores

ProductEngine = TensorCores | MultiplyAdd
"""Both keep scores and sums in registers: in each of a lane's ``rows``, ``columns`` of scores, ``features`` of sums."""


def engine_of(given: CudaOperands, tile: QueryTile) -> ProductEngine:
    """The one for the type of the operands."""
    return TensorCores.of(given, tile) if given.spec.tensor_cores else MultiplyAdd.of(given, tile)
