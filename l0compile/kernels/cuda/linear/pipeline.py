"""The stages of a tile: their factors come from global memory while those before them are multiplied."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx, warpgroup
from l0compile.kernels.cuda.integers.product import IntegerProduct
from l0compile.kernels.cuda.linear.copies import TileCopy
from l0compile.kernels.cuda.linear.factors import StageFactors
from l0compile.kernels.cuda.linear.multiply_add import MultiplyAddProduct
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from l0compile.kernels.cuda.linear.tensor_cores import TensorCoreProduct
from l0compile.kernels.cuda.linear.warpgroups import WarpgroupProduct
from l0compile.kernels.cuda.two_of_four.product import TwoOfFourProduct
from l0compile.kernels.tir import TB

WarpProduct = TensorCoreProduct | WarpgroupProduct | MultiplyAddProduct | IntegerProduct | TwoOfFourProduct


@dataclass(frozen=True)
class Pipeline:
    """A tile's products, and how its factors get to shared memory.

    Attributes:
        schedule: depth and number of the stages.
        product: what a warp does with a stage.
        copies: how threads copy the tiles of a stage, that of x first.
        memory: shared address of the stages.
    """

    schedule: CudaLinearSchedule
    product: WarpProduct
    copies: tuple[TileCopy, ...]
    memory: Expr

    def run(self, factors: StageFactors, sums: Any, first: Expr, count: Expr) -> None:
        """Add the products of stages ``first`` to ``first + count - 1`` of a tile's factors to ``sums``.

        A stage that is multiplied is followed by stages - 1 that are under way. One barrier a stage is enough: behind
        it, all threads have what was waited for, and none still reads the stage whose place the next copies take.
        """
        ahead = self.schedule.stages - 1
        early = [self._found(factors, first + number) for number in range(ahead)]
        registers = tuple(copy.registers() for copy in self.copies)
        for number, columns in enumerate(early):
            with TB.If(number < count), TB.Then():
                self._fetch(factors, columns, registers, first + number, number)
                self._put(registers, number)
            self._commit()
        columns = self._found(factors, first + ahead)
        with ptx.loop(count) as number:
            self._wait()
            if self._by_warpgroups:
                warpgroup.show_writes()
            ptx.barrier()
            place, then = ptx.kept(number % (ahead + 1)), ptx.kept((number + ahead) % (ahead + 1))
            if self._by_warpgroups:  # first, since what follows runs meanwhile
                self._multiply(sums, place)
            with TB.If(number + ahead < count), TB.Then():
                self._fetch(factors, columns, registers, first + number + ahead, then)
            self._commit()
            self._find(factors, columns, first + number + ahead + 1)
            if not self._by_warpgroups:
                self._multiply(sums, place)
            if not self._asynchronous_only:
                with TB.If(number + ahead < count), TB.Then():
                    self._put(registers, then)
            if self._by_warpgroups:
                warpgroup.wait(0)
        ptx.barrier()

    def _multiply(self, sums: Any, place: Expr) -> None:
        self.product.multiply(sums, *self._tiles(place))

    @property
    def _by_warpgroups(self) -> bool:
        return isinstance(self.product, WarpgroupProduct)

    @property
    def _asynchronous_only(self) -> bool:
        return all(copy.asynchronous for copy in self.copies)

    def _tiles(self, place: Expr) -> list[Expr]:
        """Where the tiles of a stage begin."""
        sizes = [copy.tile.bytes for copy in self.copies]
        first = ptx.kept(self.memory + place * sum(sizes))
        return [first, *(first + sum(sizes[:number]) for number in range(1, len(sizes)))]

    def _found(self, factors: StageFactors, stage: Expr) -> Any:
        columns = factors.stream.columns()
        self._find(factors, columns, stage)
        return columns

    def _find(self, factors: StageFactors, columns: Any, stage: Expr) -> None:
        of_x = self.copies[0]
        factors.stream.find(columns, stage * self.schedule.depth + of_x.chunk * of_x.numbers)

    def _fetch(
        self, factors: StageFactors, columns: Any, registers: tuple[Any, ...], stage: Expr, place: Expr
    ) -> None:
        to, start = self._tiles(place), ptx.kept(stage * self.schedule.depth)
        sources = factors.sources(columns, start)
        for copy, tile, source, held in zip(self.copies, to, sources, registers, strict=True):
            copy.fetch(tile, source, held)

    def _put(self, registers: tuple[Any, ...], place: Expr) -> None:
        if self._asynchronous_only:
            return
        for copy, tile, held in zip(self.copies, self._tiles(place), registers, strict=True):
            copy.put(tile, held)

    def _commit(self) -> None:
        if any(copy.asynchronous for copy in self.copies):
            ptx.commit_group()

    def _wait(self) -> None:
        if any(copy.asynchronous for copy in self.copies):
            ptx.wait_group(self.schedule.stages - 2)
