"""Tiles in shared memory, laid out so that a warp's accesses meet no memory bank twice."""

from dataclasses import dataclass

from l0compile.kernels.cpu.lanes import Expr

CHUNK = 16
"""Bytes that move together: one asynchronous copy, one row of a ``ldmatrix``. Memory gives 8 such at a time."""

_PANEL = 8


@dataclass(frozen=True)
class SharedTile:
    """Rows of chunks of 16 bytes.

    Chunk c of a row lies where chunk c ^ f(row) would, so that the same chunk of neighbouring rows is in other banks.

    Attributes:
        rows: of the tile.
        chunks: of a row, a power of two.
        in_pairs: a warp reads two neighbouring chunks of 4 neighbouring rows at once, not one of 8 rows.
        in_panels: chunks from the ninth on lie behind the first eight of all rows, and so on, as warpgroups want it.
            Then chunks lie as their descriptors' swizzles have it.
    """

    rows: int
    chunks: int
    in_pairs: bool = False
    in_panels: bool = False

    @property
    def bytes(self) -> int:
        return self.rows * self.chunks * CHUNK

    @property
    def row_bytes(self) -> int:
        """Bytes from a row to the next, in a panel where there are some."""
        return self._across * CHUNK

    @property
    def panel_bytes(self) -> int:
        """Bytes from a panel to the next; of the tile where it is one."""
        return self.rows * self.row_bytes

    def place(self, row: Expr, chunk: Expr) -> Expr:
        """Byte of the tile where a chunk of a row begins."""
        if self._across == self.chunks:
            return (row * self.chunks + (chunk ^ self._shift(row))) * CHUNK
        return self.panel_place(row, chunk // _PANEL * _PANEL) + (chunk % _PANEL ^ self._shift(row)) * CHUNK

    def panel_place(self, row: Expr, chunk: Expr) -> Expr:
        """Byte where a chunk of a row would begin if chunks of a row did not change places."""
        panel, inside = (chunk // _PANEL, chunk % _PANEL) if self._across < self.chunks else (0, chunk)
        return panel * self.panel_bytes + row * self.row_bytes + inside * CHUNK

    @property
    def _across(self) -> int:
        """Chunks that lie side by side."""
        return min(self.chunks, _PANEL) if self.in_panels else self.chunks

    def _shift(self, row: Expr) -> Expr:
        # Rows narrower than 8 chunks share the banks' width; only the next such group has to give way.
        group = row // max(1, 8 // self._across)
        shift = group % 4 * 2 if self.in_pairs else group % 8
        return shift % self._across
