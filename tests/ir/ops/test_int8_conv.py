"""Convolutions of 8-bit integers: definitions against PyTorch's own, and shapes that the tracer infers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from l0compile.errors import InputError
from l0compile.ir.ops.int8_conv import conv_matrix, dense_weight, from_conv_matrix
from l0compile.ir.ops.planes import Planes, pixel_index
from l0compile.ir.ops.word_planes import word_of
from l0compile.ir.ops.words import from_words, word_blocks

l0 = torch.ops.l0compile
STEPS = ([2, 1], [1, 2], [1, 2])


def integers(n: int, channels: int, height: int, width: int) -> torch.Tensor:
    return torch.randint(-127, 128, (n, channels, height, width), dtype=torch.int8)


@settings(max_examples=20, deadline=None)
@given(zero_point=st.integers(0, 255), channels=st.integers(1, 6), batch=st.booleans(), bias=st.booleans())
def test_a_convolution_of_integers_is_exact(zero_point: int, channels: int, batch: bool, bias: bool) -> None:
    torch.manual_seed(channels)
    q, weight = torch.randint(256, (2, channels, 8, 7), dtype=torch.uint8), integers(5, channels, 3, 2)
    q, scale, shift = q if batch else q[0], torch.rand(5), torch.randn(5) if bias else None
    found = l0.int8_conv2d(q, weight, scale, shift, zero_point, *STEPS)
    sums = F.conv2d(q.double() - zero_point, weight.double(), None, *STEPS)
    # float32 holds sums of this size, and the only roundings are those of the product and of the sum with the bias.
    assert float(sums.abs().max()) < 2**24
    wanted = sums * scale.double()[:, None, None] + (shift.double()[:, None, None] if bias else 0.0)
    assert found.dtype == torch.float32 and torch.equal(found, wanted.float())


def test_blocks_give_the_dense_convolution() -> None:
    weight = integers(6, 7, 3, 3) * (torch.rand(6, 7, 1, 1) < 0.4)
    q, scale, bias = torch.randint(256, (2, 7, 8, 7), dtype=torch.uint8), torch.rand(6), torch.randn(6)
    for block in ((4, 4), (1, 4), (2, 8)):
        stored = word_blocks(conv_matrix(weight), *block)
        assert torch.equal(dense_weight(*stored, weight.shape), weight)
        found = l0.int8_bsr_conv2d(q, *stored, scale, bias, 9, list(weight.shape), *STEPS)
        assert torch.equal(found, l0.int8_conv2d(q, weight, scale, bias, 9, *STEPS))


@pytest.mark.parametrize("shape", [(3, 4, 1, 1), (5, 7, 3, 2), (1, 1, 1, 5)])
def test_a_matrix_gives_its_weight_back(shape: tuple[int, ...]) -> None:
    weight = integers(*shape)
    assert torch.equal(from_conv_matrix(conv_matrix(weight), shape), weight)


def test_a_column_of_words_is_four_channels_at_one_tap() -> None:
    weight = integers(2, 8, 1, 3)
    matrix = conv_matrix(weight)
    assert torch.equal(matrix[:, 4 * 4 : 4 * 4 + 4], weight[:, 4:8, 0, 1])


def test_the_zeros_of_planes_become_zero_points() -> None:
    planes, rows = Planes.bordered(3, 4, 6, 5, 20), Planes.rows(3, 4)
    image, inverse = torch.randn(1, 6, 3, 4), torch.rand(6) * 40
    x = l0.copy_planes(image.flatten(2), rows.numbers(), planes.numbers(), [1, 1], [0, 0])
    words = l0.quantize_planes(x, inverse, 120)
    assert words.shape == (1, 2, planes.size)
    pixels = from_words(words[:, :, pixel_index(planes).flatten()].transpose(1, 2), torch.uint8)
    wanted = l0.quantize(image, inverse[:, None, None], 120).flatten(2).transpose(1, 2)
    assert torch.equal(pixels[..., :6], wanted)
    around = torch.ones(planes.size, dtype=torch.bool)
    around[pixel_index(planes).flatten()] = False
    assert bool((words[:, 0, around] == word_of(120)).all())
    copy = l0.copy_word_planes(words, planes.numbers(), planes.numbers(), [1, 1], [0, 0], 120)
    assert torch.equal(copy[:, 0], words[:, 0])


def test_other_channels_than_those_of_the_weight_are_refused() -> None:
    q = torch.zeros(1, 3, 8, 7, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"expected x \[N, 4, H, W\]"):
        l0.int8_conv2d(q, integers(2, 4, 1, 1), torch.ones(2), None, 0, [1, 1], [0, 0], [1, 1])


@pytest.mark.parametrize(
    "name", ["int8_conv2d", "int8_bsr_conv2d", "quantize_planes", "copy_word_planes", "packed_int8_conv2d"]
)
def test_fake_and_real_agree(name: str) -> None:
    planes = Planes.bordered(3, 4, 5, 6, 32)
    layout, x = planes.numbers(), torch.randn(2, 3, planes.size)
    q, weight, scale = (
        torch.randint(256, (2, 5, 8, 7), dtype=torch.uint8),
        integers(4, 5, 3, 2),
        torch.rand(4),
    )
    words, inverse = l0.quantize_planes(x, torch.ones(3), 9), torch.ones(4)
    data, start = torch.zeros(3, 1, 4, dtype=torch.int32), torch.zeros(4, dtype=torch.int32)
    packed = (words, data, torch.tensor([1, 20, 7]).int(), None, start, scale, None, None)
    stored = word_blocks(conv_matrix(weight), 4, 4)
    every = {
        "int8_conv2d": [(q, weight, scale, None, 3, *STEPS), (q[0], weight, scale, scale, 3, *STEPS)],
        "int8_bsr_conv2d": [(q, *stored, scale, None, 3, list(weight.shape), *STEPS)],
        "quantize_planes": [(x, torch.ones(3), 9)],
        "copy_word_planes": [(words, layout, Planes.rows(2, 2).numbers(), [2, 2], [0, 0, 1, 1], 9)],
        "packed_int8_conv2d": [(*packed, other, 4, layout, "relu", 3) for other in (None, inverse)],
    }[name]
    for args in every:
        torch.library.opcheck(getattr(l0, name).default, args, test_utils=("test_schema", "test_faketensor"))
