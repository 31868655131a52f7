"""Tiles in shared memory, laid out so that a warp's accesses meet no memory bank twice."""

from dataclasses import dataclass

from l0compile.kernels.cpu.lanes import Expr

CHUNK = 16
"""Bytes that move together: one asynchronous copy, one row of a ``ldmatrix``. Memory gives 8 such at a time."""


@dataclass(frozen=True)
class SharedTile:
    """Rows of chunks of 16 bytes.

    Chunk c of a row lies where chunk c ^ f(row) would, so that the same chunk of neighbouring rows is in other banks.

    Attributes:
        rows: of the tile.
        chunks: of a row, a power of two.
        in_pairs: a warp reads two neighbouring chunks of 4 neighbouring rows at once, not one of 8 rows.
    """

    rows: int
    chunks: int
    in_pairs: bool = False

    @property
    def bytes(self) -> int:
        return self.rows * self.chunks * CHUNK

    def place(self, row: Expr, chunk: Expr) -> Expr:
        """Byte of the tile where a chunk of a row begins."""
        return (row * self.chunks + (chunk ^ self._shift(row))) * CHUNK

    def _shift(self, row: Expr) -> Expr:
        # Rows narrower than 8 chunks share the banks' width; only the next such group has to give way.
        group = row // max(1, 8 // self.chunks)
        shift = group % 4 * 2 if self.in_pairs else group % 8
        return shift % self.chunks
