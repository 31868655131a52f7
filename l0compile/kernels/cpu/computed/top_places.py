"""Places of the best numbers of each row (oracle: ``l0compile::top_places``).

Numbers become integers of the same order. The least of those that are taken is found bit by bit, a register of
numbers at a time: 32 passes over a row in the first cache, whatever is in it. One more pass notes the places of the
better ones in order, and of the equal ones as many as are left to take. Where they have to be ordered, each is compared
with all others, again by registers, and goes to the place of its rank.
"""

from dataclasses import dataclass
from typing import Any

from torch import fx

from l0compile.ir.nodes import is_static
from l0compile.ir.ops.computed.top_places import LARGEST_ROW, MOST_ORDERED
from l0compile.kernels.cpu.dot import lanes_of
from l0compile.kernels.cpu.lanes import (
    Expr,
    body,
    broadcast,
    const_int,
    held,
    kernel,
    param,
    ramp,
    scratch,
    store,
    symbol,
    variable,
)
from l0compile.kernels.definition import KernelCall, KernelDef
from l0compile.kernels.tir import TB, tirx
from l0compile.kernels.token_tile import TokenTile

_TOGETHER = 4  # rows of a task
_LEAST, _MOST = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True)
class TopPlacesSpec:
    """See ``l0compile::top_places``.

    Attributes:
        size: numbers of a row.
        count: how many of them are taken.
        dtype: of the numbers, "float32" or "int32".
        largest: the largest ones instead of the smallest.
        ordered: by their numbers instead of their places.
    """

    size: int
    count: int
    dtype: str
    largest: bool
    ordered: bool


def top_places(spec: TopPlacesSpec, tile: TokenTile) -> Any:
    """PrimFunc(x, y): x [rows, size] -> y [rows, count] int64; the number of rows is symbolic."""
    with kernel("top_places") as builder:
        rows = symbol("rows")
        x = param("x", (rows, spec.size), spec.dtype)
        y = param("y", (rows, spec.count), "int64")
        with body(), TB.parallel(0, (rows + (_TOGETHER - 1)) // _TOGETHER) as task:
            keys = scratch((_padded(spec.size, tile),), "int32")
            taken = scratch((spec.count,), "int32") if spec.ordered else None
            with TB.serial(0, TB.min(rows - task * _TOGETHER, _TOGETHER)) as i:
                _RowSearch(spec, tile, x, y, keys, taken, held(task * _TOGETHER + i)).emit()
    return builder.get()


def _padded(size: int, tile: TokenTile) -> int:
    return -(-size // tile.vector) * tile.vector


@dataclass(frozen=True)
class _RowSearch:
    """A row, and room for its keys and for those that are taken."""

    spec: TopPlacesSpec
    tile: TokenTile
    x: Any
    y: Any
    keys: Any
    taken: Any
    row: Expr

    def emit(self) -> None:
        spec = self.spec
        self._read()
        least, equal = variable(1, "int64"), variable(1, "int64")
        if spec.count == spec.size:  # all are taken: none is equal to a limit below all keys
            store(least, TB.int64(_LEAST - 1), 0)
            store(equal, TB.int64(0), 0)
        else:
            self._limit(least)
            store(equal, spec.count - self._counted(TB.cast(least[0], "int32"), above=True), 0)
        self._take(least, equal)
        if spec.ordered:
            self._order()

    def _read(self) -> None:
        """The keys of the row, and below all of them what fills the last register."""
        size, width = self.tile.vector, self.spec.size
        whole = width // size * size
        if whole:
            with TB.serial(0, whole // size) as i:
                at = ramp(i * size, size)
                store(self.keys, self._key(self.x[self.row, at], size), at)
        for j in range(whole, width):
            store(self.keys, self._key(self.x[self.row, j], 1), j)
        for j in range(width, _padded(width, self.tile)):
            store(self.keys, tirx.const(_LEAST, "int32"), j)

    def _key(self, value: Expr, lanes: int) -> Expr:
        """An integer that is larger for what comes first; -0 is 0, NaN is the largest number."""
        key = value
        if self.spec.dtype == "float32":
            bits = TB.reinterpret(lanes_of("int32", lanes), value)
            most = const_int(_MOST, lanes)
            turned = TB.bitwise_xor(bits, TB.bitwise_and(TB.shift_right(bits, const_int(31, lanes)), most))
            key = TB.Select(turned == const_int(-1, lanes), const_int(0, lanes), turned)
            key = TB.Select(TB.bitwise_and(bits, most) > const_int(0x7F800000, lanes), most, key)
        return key if self.spec.largest else TB.bitwise_xor(key, const_int(-1, lanes))

    def _limit(self, least: Any) -> None:
        """The largest key that at least ``count`` keys reach."""
        most, middle = variable(1, "int64"), variable(1, "int64")
        store(least, TB.int64(_LEAST), 0)
        store(most, TB.int64(_MOST), 0)
        with TB.While(least[0] < most[0]):
            store(middle, TB.shift_right(least[0] + most[0] + 1, TB.int64(1)), 0)
            reached = self._counted(TB.cast(middle[0], "int32"), above=False) >= self.spec.count
            enough = held(TB.cast(reached, "int64"))
            store(least, TB.Select(enough == 1, middle[0], least[0]), 0)
            store(most, TB.Select(enough == 1, most[0], middle[0] - 1), 0)

    def _counted(self, limit: Expr, above: bool) -> Expr:
        """How many keys are at ``limit`` or above; ``above``: above it alone."""
        size = self.tile.vector
        lanes, counts, bound = ramp(0, size), variable(size, "int32"), variable(size, "int32")
        store(counts, const_int(0, size), lanes)
        store(bound, broadcast(limit, size), lanes)
        with TB.serial(0, _padded(self.spec.size, self.tile) // size) as i:
            key = self.keys[ramp(i * size, size)]
            hit = key > bound[lanes] if above else key >= bound[lanes]
            store(counts, counts[lanes] + TB.Select(hit, const_int(1, size), const_int(0, size)), lanes)
        return held(TB.cast(_sum([counts[j] for j in range(size)]), "int64"))

    def _take(self, least: Any, equal: Any) -> None:
        """Note the keys and places of the best in order of their places."""
        count, place = variable(1, "int64"), self.y if not self.spec.ordered else None
        store(count, TB.int64(0), 0)
        with TB.serial(0, self.spec.size) as i:
            key = held(TB.cast(self.keys[i], "int64"))
            with TB.If(TB.Or(key > least[0], TB.And(key == least[0], equal[0] > 0))), TB.Then():
                if place is not None:
                    store(place, TB.cast(i, "int64"), self.row, count[0])
                else:
                    self._note(i, count[0])
                store(equal, equal[0] - TB.cast(key == least[0], "int64"), 0)
                store(count, count[0] + 1, 0)

    def _note(self, place: Expr, number: Expr) -> None:
        """Move a taken key to the front of the keys, where nothing is read any more, and note its place."""
        store(self.taken, TB.cast(place, "int32"), number)
        store(self.keys, self.keys[place], number)

    def _order(self) -> None:
        """Write each place at the rank of its key; of equal keys the first has the better rank."""
        size, count = self.tile.vector, self.spec.count
        for j in range(count, _padded(count, self.tile)):
            store(self.keys, tirx.const(_LEAST, "int32"), j)
        lanes, ranks, own = ramp(0, size), variable(size, "int32"), variable(size, "int32")
        with TB.serial(0, count) as i:
            store(ranks, const_int(0, size), lanes)
            store(own, broadcast(self.keys[i], size), lanes)
            with TB.serial(0, _padded(count, self.tile) // size) as j:
                key = self.keys[ramp(j * size, size)]
                places = broadcast(TB.cast(j * size, "int32"), size) + ramp(TB.int32(0), size)
                before = places < broadcast(TB.cast(i, "int32"), size)
                better = TB.Or(key > own[lanes], TB.And(key == own[lanes], before))
                store(ranks, ranks[lanes] + TB.Select(better, const_int(1, size), const_int(0, size)), lanes)
            rank = TB.cast(_sum([ranks[j] for j in range(size)]), "int64")
            store(self.y, TB.cast(self.taken[i], "int64"), self.row, rank)


def _sum(values: list[Expr]) -> Expr:
    """By halves: a chain of additions would wait for each of them."""
    half = len(values) // 2
    return _sum(values[:half]) + _sum(values[half:]) if half else values[0]


def _call(node: fx.Node) -> KernelCall | None:
    x, count, largest, ordered = node.args
    value = x.meta["val"]
    width, dtype = value.shape[1], str(value.dtype).removeprefix("torch.")
    known = is_static(width) and is_static(count) and dtype in ("float32", "int32")
    if not known or width > LARGEST_ROW or (ordered and count > MOST_ORDERED):
        return None
    return KernelCall(TopPlacesSpec(width, count, dtype, largest, ordered), (x,))


TOP_PLACES = KernelDef(
    name="top_places",
    calls={"top_places": _call},
    spec=TopPlacesSpec,
    emit=top_places,
    costs=None,
    dtypes=("float32", "int32"),
)
