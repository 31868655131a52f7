"""Operators on images: definitions against PyTorch's own, and shapes that the tracer infers."""

import pytest
import torch
from torch.nn import functional as F

from l0compile.ir.ops.bsr import to_blocks
from l0compile.ir.ops.planes import Planes

l0 = torch.ops.l0compile


@pytest.mark.parametrize("rank", [1, 2])
def test_sparse_convolution_is_the_dense_one(rank: int) -> None:
    weight = torch.randn(6, 3, *[3] * rank) * (torch.rand(6, 3, *[3] * rank) < 0.4)
    x, bias, steps = torch.randn(2, 3, *[8, 7][:rank]), torch.randn(6), ([2, 1], [1, 0], [1, 2])
    steps = tuple(step[:rank] for step in steps)
    args = (x, *to_blocks(weight.flatten(1), 4, 1), bias, list(weight.shape), *steps)
    expected = (F.conv2d if rank == 2 else F.conv1d)(x, weight, bias, *steps)
    torch.testing.assert_close(l0.bsr_conv2d(*args), expected)
    torch.library.opcheck(l0.bsr_conv2d.default, args, test_utils=("test_schema", "test_faketensor"))


def test_planes_hold_an_image_among_zeros() -> None:
    planes, rows = Planes.bordered(3, 4, 6, 5, 20), Planes.rows(3, 4)
    assert (planes.lead, planes.body, planes.size) == (16, 24, 48)
    image = torch.ones(1, 2, 3, 4)
    x = l0.copy_planes(image.flatten(2), rows.numbers(), planes.numbers(), [1, 1], [0, 0])
    assert x.sum() == image.sum() and (x[:, :, 16:20] == 1).all() and (x[:, :, 20:22] == 0).all()
    back = l0.copy_planes(x, planes.numbers(), rows.numbers(), [1, 1], [0, 0])
    assert torch.equal(back.view(image.shape), image)


@pytest.mark.parametrize("name", ["copy_planes", "packed_conv2d", "packed_window"])
def test_fake_and_real_agree(name: str) -> None:
    planes = Planes.bordered(3, 4, 5, 6, 32)
    layout, x, data = planes.numbers(), torch.randn(2, 3, planes.size), torch.randn(6, 1, 4)
    args = {
        "copy_planes": (x, layout, Planes.rows(2, 2).numbers(), [2, 2], [0, 0, 1, 1]),
        "packed_conv2d": (x, data, torch.tensor([1, 20, 7]).int(), None, None, None, 5, layout, "relu"),
        "packed_window": (x, torch.randn(3, 2), None, 3, [10, 20], layout, "relu6"),
    }[name]
    torch.library.opcheck(getattr(l0, name).default, args, test_utils=("test_schema", "test_faketensor"))
