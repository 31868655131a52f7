"""The words that packed operators give instead of float32 results."""

import pytest
import torch

from l0compile.errors import InputError
from l0compile.ir.ops.results import extents, in_words, in_words_like

l0 = torch.ops.l0compile
INVERSE = torch.full((8,), 20.0)


@pytest.mark.parametrize("inverse", [INVERSE, None], ids=["int8", "float"])
@pytest.mark.parametrize("pairs", ["", "features", "tokens"])
def test_they_are_those_of_the_operators_that_only_round(inverse: torch.Tensor | None, pairs: str) -> None:
    y = torch.randn(3, 8, 4)
    if inverse is not None and pairs:
        with pytest.raises(InputError, match="none of integers"):
            in_words(y, inverse, 90, pairs)
        return
    alone = {"features": l0.packed_bfloat16, "tokens": l0.packed_token_pairs}.get(pairs, lambda x: x)(y)
    wanted = alone if inverse is None else l0.packed_quantize(y, inverse, 90)
    found = in_words(y, inverse, 90, pairs)
    assert torch.equal(found, wanted)
    like = in_words_like(y, inverse, pairs)
    assert (like.shape, like.dtype) == (found.shape, found.dtype)


@pytest.mark.parametrize(
    ("sizes", "integers", "pairs"),
    [
        ((2, 6, 4), True, ""),
        ((2, 5, 4), False, "features"),
        ((2, 8, 3), False, "tokens"),
        ((2, 8, 4), False, "rows"),
    ],
)
def test_what_fills_no_words_is_refused(sizes: tuple[int, int, int], integers: bool, pairs: str) -> None:
    with pytest.raises(InputError, match="expected"):
        extents(sizes, integers, pairs)
