"""The stages of a tile: their factors come from global memory while those before them are multiplied."""

from dataclasses import dataclass
from typing import Any

from l0compile.kernels.cpu.lanes import Expr
from l0compile.kernels.cuda import ptx, warpgroup
from l0compile.kernels.cuda.integers.product import IntegerProduct
from l0compile.kernels.cuda.linear.copies import TileCopy
from l0compile.kernels.cuda.linear.factors import Factors
from l0compile.kernels.cuda.linear.multiply_add import MultiplyAddProduct
from l0compile.kernels.cuda.linear.spec import CudaLinearSchedule
from l0compile.kernels.cuda.linear.tensor_cores import TensorCoreProduct
from l0compile.kernels.cuda.linear.warpgroups import WarpgroupProduct
from l0compile.kernels.tir import TB

WarpProduct = TensorCoreProduct | WarpgroupProduct | MultiplyAddProduct | IntegerProduct


@dataclass(frozen=True)
class Pipeline:
    """A tile's products, and how its factors get to shared memory.

    Attributes:
        schedule: depth and number of the stages.
        product: what a warp does with a stage.
        x_copy, weight_copy: how threads copy the two tiles of a stage.
        memory: shared address of the stages.
    """

    schedule: CudaLinearSchedule
    product: WarpProduct
    x_copy: TileCopy
    weight_copy: TileCopy
    memory: Expr

    def run(self, factors: Factors, sums: Any, first: Expr, count: Expr) -> None:
        """Add the products of stages ``first`` to ``first + count - 1`` of a tile's factors to ``sums``.

        A stage that is multiplied is followed by stages - 1 that are under way. One barrier a stage is enough: behind
        it, all threads have what was waited for, and none still reads the stage whose place the next copies take.
        """
        ahead = self.schedule.stages - 1
        early = [self._found(factors, first + number) for number in range(ahead)]
        registers = self.x_copy.registers(), self.weight_copy.registers()
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
        x = ptx.kept(self._address(place))
        self.product.multiply(sums, x, x + self.x_copy.tile.bytes)

    @property
    def _by_warpgroups(self) -> bool:
        return isinstance(self.product, WarpgroupProduct)

    @property
    def _copies(self) -> tuple[TileCopy, TileCopy]:
        return self.x_copy, self.weight_copy

    @property
    def _asynchronous_only(self) -> bool:
        return all(copy.asynchronous for copy in self._copies)

    def _address(self, place: Expr) -> Expr:
        return self.memory + place * (self.x_copy.tile.bytes + self.weight_copy.tile.bytes)

    def _found(self, factors: Factors, stage: Expr) -> Any:
        columns = factors.stream.columns()
        self._find(factors, columns, stage)
        return columns

    def _find(self, factors: Factors, columns: Any, stage: Expr) -> None:
        factors.stream.find(columns, stage * self.schedule.depth + self.x_copy.chunk * self.x_copy.numbers)

    def _fetch(
        self, factors: Factors, columns: Any, registers: tuple[Any, Any], stage: Expr, place: Expr
    ) -> None:
        address, start = ptx.kept(self._address(place)), ptx.kept(stage * self.schedule.depth)
        self.x_copy.fetch(address, lambda turn, number: factors.x(columns, turn, number), registers[0])
        to = address + self.x_copy.tile.bytes
        self.weight_copy.fetch(to, lambda turn, number: factors.weight(start, turn, number), registers[1])

    def _put(self, registers: tuple[Any, Any], place: Expr) -> None:
        if self._asynchronous_only:
            return
        address = ptx.kept(self._address(place))
        self.x_copy.put(address, registers[0])
        self.weight_copy.put(address + self.x_copy.tile.bytes, registers[1])

    def _commit(self) -> None:
        if any(copy.asynchronous for copy in self._copies):
            ptx.commit_group()

    def _wait(self) -> None:
        if any(copy.asynchronous for copy in self._copies):
            ptx.wait_group(self.schedule.stages - 2)
