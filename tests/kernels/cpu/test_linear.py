"""The linear kernel against its oracle, over blocks, ragged sizes, epilogues and token counts."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.errors import ScheduleError
from l0compile.hardware._tvm import runtime
from l0compile.ir.ops.bsr import dense_blocks, to_blocks
from l0compile.kernels import emit
from l0compile.kernels.cpu.lanes import ACTIVATIONS
from l0compile.kernels.cpu.linear.schedules import default_schedule, legal_schedules
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.token_tile import TokenTile
from tests.kernels.kept_code import kept_code

l0 = torch.ops.l0compile
BLOCKS = [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (1, 4), (2, 3), (4, 4), (8, 8), (16, 16), (32, 32), (6, 5)]


def check(
    launch,
    tile: TokenTile,
    weight: torch.Tensor,
    block: tuple[int, int] | None,
    activation: str,
    residual: bool,
    m: int,
    schedule: LinearSchedule | None = None,
    tail: int | None = 0,
) -> None:  # type: ignore[no-untyped-def]
    n, k = weight.shape
    x, bias = l0.pack(torch.randn(m, k), tile.lanes), torch.randn(n)
    other = torch.randn(x.shape[0], n, tile.lanes) if residual else None
    data, indices, indptr = (
        to_blocks(weight, *block) if block else (dense_blocks(weight, tile.rows), None, None)
    )
    spec = LinearSpec(n, k, data.shape[2], data.shape[1], block is None, True, residual, activation, tail)
    operands: list[object] = [t for t in (x, data, indices, indptr, bias, other) if t is not None]
    operands += [m] if tail is None else []
    actual = launch(spec, tuple(operands), (x.shape[0], n, tile.lanes), schedule)
    expected = l0.packed_linear(x, data, indices, indptr, bias, other, n, activation)
    torch.testing.assert_close(
        l0.unpack(actual, [m]), l0.unpack(expected, [m]), rtol=1e-5, atol=2e-6 * k**0.5
    )
    # `launch` fills results with NaN: whoever reads the register of the last token finds numbers there.
    assert not l0.unpack(actual, [-(-m // tile.vector) * tile.vector]).isnan().any()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_blocks(launch, tile: TokenTile, block: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    for density in (0.0, 0.3, 1.0):
        weight = torch.randn(50, 35) * (torch.rand(50, 35) < density)
        if density:
            weight[0, 0] = 1.0  # at least one block
            check(launch, tile, weight, block, "", False, 17)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("block", [None, (4, 1)])
def test_epilogues(launch, tile: TokenTile, activation: str, block: tuple[int, int] | None) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    check(launch, tile, torch.randn(24, 20) * 2, block, activation, activation != "", 9)


@pytest.mark.parametrize("tail", [0, None])
@pytest.mark.parametrize("activation", ["", "gelu", "bfloat16/silu/bfloat16"])
@pytest.mark.parametrize(
    ("rows", "block"), [(22, (4, 1)), (24, (8, 1)), (22, (6, 5)), (10, (8, 8)), (22, None)]
)
def test_sums_that_are_put_in_memory(
    tile: TokenTile, rows: int, block: tuple[int, int] | None, activation: str, tail: int | None
) -> None:
    """The code for 16 registers, on any machine that has them; rows past the last one are not written."""
    few = dataclasses.replace(tile, lanes=2 * tile.vector, registers=16)
    built: dict[object, Callable[..., None]] = {}

    def launch(spec, inputs, shape, schedule):  # type: ignore[no-untyped-def]
        code = built.setdefault(spec, kept_code(emit(spec, few, schedule)))
        result = torch.full(shape, float("nan"))
        operands = [runtime.from_dlpack(i.contiguous()) if isinstance(i, torch.Tensor) else i for i in inputs]
        code(*operands, runtime.from_dlpack(result))
        return result

    torch.manual_seed(rows)
    weight = torch.randn(rows, 20) * (torch.rand(rows, 20) < 0.6)
    for m in (few.lanes, few.lanes + 3, few.vector // 2):
        if tail is None or m == few.lanes:
            check(launch, few, weight, block, activation, True, m, tail=tail)


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 200),
    block=st.sampled_from([None, (4, 1), (1, 4), (4, 4), (32, 8), (6, 5)]),
    seed=st.integers(0, 99),
)
def test_any_number_of_tokens(  # type: ignore[no-untyped-def]
    launch, tile: TokenTile, m: int, block: tuple[int, int] | None, seed: int
) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(70, 40) * (torch.rand(70, 40) < 0.4)
    check(launch, tile, weight, block, "relu", True, m, tail=None)


@pytest.mark.parametrize("block", [None, (4, 1), (8, 8)], ids=str)
@pytest.mark.parametrize("m", [1, 5, 16, 40, 65, 80, 113, 130])
def test_a_known_number_of_tokens(launch, tile: TokenTile, block: tuple[int, int] | None, m: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(m)
    weight = torch.randn(33, 24) * (torch.rand(33, 24) < 0.4)
    check(launch, tile, weight, block, "", True, m, tail=m % tile.lanes)


def test_skipped_blocks_do_not_spread_nan(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    weight = torch.zeros(8, 8)
    weight[:4, 0] = 1.0
    data, indices, indptr = to_blocks(weight, 4, 1)
    x = torch.ones(3, 8)
    x[:, 5] = float("inf")  # meets only absent blocks
    packed = l0.pack(x, tile.lanes)
    spec = LinearSpec(8, 8, 4, 1, False, False, False, "")
    y = l0.unpack(launch(spec, (packed, data, indices, indptr), (1, 8, tile.lanes)), [3])
    assert torch.equal(y, torch.tensor([[1.0] * 4 + [0.0] * 4] * 3))


@settings(max_examples=20, deadline=None)
@given(data=st.data(), block=st.sampled_from([None, *BLOCKS]), density=st.sampled_from([0.2, 0.9]))
def test_the_schedule_does_not_change_the_result(  # type: ignore[no-untyped-def]
    launch, tile: TokenTile, data: st.DataObject, block: tuple[int, int] | None, density: float
) -> None:
    rows, cols = block or (tile.rows, 1)
    spec = LinearSpec(38, 27, rows, cols, block is None, True, True, "relu")
    schedule = data.draw(st.sampled_from(legal_schedules(spec, tile)))
    torch.manual_seed(2)
    weight = torch.randn(38, 27) * (torch.rand(38, 27) < density)
    check(launch, tile, weight, block, "relu", True, 70, schedule)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_legal_schedules_are_legal_and_distinct(tile: TokenTile, block: tuple[int, int]) -> None:
    spec = LinearSpec(768, 768, *block, False, True, False, "")
    schedules = legal_schedules(spec, tile)
    assert schedules[0] == default_schedule(spec, tile)
    assert len(set(schedules)) == len(schedules)
    for schedule in schedules:
        assert schedule.sums * schedule.rows * schedule.vectors + schedule.vectors + 1 <= tile.registers
        assert spec.rows % schedule.rows == 0 and tile.vectors % schedule.vectors == 0


def test_illegal_schedules_are_refused(tile: TokenTile) -> None:
    spec = LinearSpec(64, 64, 8, 1, False, True, False, "")
    many = LinearSchedule(8, tile.vectors)
    for schedule in (
        LinearSchedule(3, 1),
        LinearSchedule(4, tile.vectors + 1),
        LinearSchedule(4, 1, 3, 2),
        many,
    ):
        with pytest.raises(ScheduleError, match="expected"):
            emit(spec, tile, schedule)
    with pytest.raises(ScheduleError, match="at least 1"):
        emit(spec, tile, LinearSchedule(4, 1, 0))
