"""Tiles in shared memory: nothing lies on something else, and what a warp reads at once lies in different banks."""

import pytest

from l0compile.kernels.cuda.linear.shared_tile import CHUNK, SharedTile

CHUNKS = (1, 2, 4, 8, 16, 32)


def group(tile: SharedTile, row: int, chunk: int) -> int:
    """The 16 bytes of all 32 banks in which a chunk lies."""
    return tile.place(row, chunk) // CHUNK % 8


@pytest.mark.parametrize("in_pairs", [False, True])
@pytest.mark.parametrize("chunks", CHUNKS)
def test_each_chunk_has_its_place(chunks: int, in_pairs: bool) -> None:
    tile = SharedTile(32, chunks, in_pairs)
    places = sorted(tile.place(row, chunk) for row in range(32) for chunk in range(chunks))
    assert places == list(range(0, tile.bytes, CHUNK))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_matrix_of_eight_rows_meets_no_bank_twice(chunks: int) -> None:
    tile = SharedTile(64, chunks)
    for first in range(0, 64, 8):
        for chunk in range(chunks):
            assert len({group(tile, first + row, chunk) for row in range(8)}) == 8


@pytest.mark.parametrize("chunks", CHUNKS[1:])
def test_four_rows_of_two_chunks_meet_no_bank_twice(chunks: int) -> None:
    tile = SharedTile(64, chunks, in_pairs=True)
    for first in range(0, 64, 4):
        for chunk in range(0, chunks, 2):
            places = {group(tile, first + row, chunk + side) for row in range(4) for side in (0, 1)}
            assert len(places) == 8
