"""Products of a batch and places of the best numbers, against their oracles."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.kernels.cpu.computed.product import ProductSpec
from l0compile.kernels.cpu.computed.top_places import TopPlacesSpec

l0 = torch.ops.l0compile
SIZES = st.sampled_from((1, 3, 4, 15, 16, 17, 63, 64, 65, 130))


@settings(max_examples=40)
@given(
    batch=st.integers(1, 3), m=SIZES, n=SIZES, k=SIZES, shared=st.sampled_from(((1, 1), (0, 1), (1, 0))),
    transposed=st.booleans(),
)  # fmt: skip
def test_product(launch, batch, m, n, k, shared, transposed) -> None:  # type: ignore[no-untyped-def]
    sizes = [batch if own else 1 for own in shared]
    left = torch.randn(sizes[0], m, k)
    right = torch.randn(sizes[1], *((n, k) if transposed else (k, n)))
    spec = ProductSpec((bool(shared[0]), bool(shared[1])), transposed)
    actual = launch(spec, (left, right), (batch, m, n))
    expected = l0.product(left.double(), right.double(), transposed).expand(batch, -1, -1)
    torch.testing.assert_close(actual, expected.float(), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
def test_columns_of_other_rows_are_not_mixed_in(launch, transposed: bool) -> None:  # type: ignore[no-untyped-def]
    """What lies past the last row or column of one matrix belongs to the next, and may be NaN."""
    left, right = torch.randn(2, 5, 70), torch.randn(2, *((9, 70) if transposed else (70, 9)))
    left[1], right[1] = float("nan"), float("nan")
    actual = launch(ProductSpec((True, True), transposed), (left, right), (2, 5, 9))
    torch.testing.assert_close(actual[0], l0.product(left, right, transposed)[0], atol=1e-5, rtol=1e-5)
    assert actual[1].isnan().all()


SPECIAL = (float("nan"), -float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0, 1e-42, 3.4e38)


SPECS = [
    TopPlacesSpec(size, count, dtype, largest, ordered)
    for size, count, dtype, largest, ordered in (
        (1, 1, "float32", True, True), (5, 2, "float32", False, False), (16, 16, "float32", False, True),
        (33, 7, "float32", True, False), (33, 20, "float32", False, True), (40, 3, "int32", True, True),
        (33, 33, "int32", False, True), (20, 5, "int32", False, False),
    )
]  # fmt: skip


@settings(max_examples=60)
@given(spec=st.sampled_from(SPECS), seed=st.integers(0, 999))
def test_top_places(launch, spec: TopPlacesSpec, seed: int) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(6, spec.size, generator=generator)
    x[2:4] = x[2:4].round()  # many are equal
    x[4:] = torch.tensor(SPECIAL)[torch.randint(0, len(SPECIAL), (2, spec.size), generator=generator)]
    if spec.dtype == "int32":
        x = torch.randint(-3, 3, (6, spec.size), generator=generator, dtype=torch.int32)
        x[0, 0], x[1, -1] = torch.iinfo(torch.int32).min, torch.iinfo(torch.int32).max
    actual = launch(spec, (x,), (6, spec.count), None, torch.int64)
    assert torch.equal(actual, l0.top_places(x, spec.count, spec.largest, spec.ordered))
