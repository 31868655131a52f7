"""Convolutions of 8-bit integers on planes: any window, blocks, what is fused, and what stays an image."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.rewrite.formats.choose_formats import choose_formats
from l0compile.rewrite.fuse.fuse_epilogues import fuse_conv_epilogue
from l0compile.rewrite.fuse.fuse_words import fuse_words
from l0compile.rewrite.layout.planes import pack_planes
from l0compile.rewrite.regions import record_regions
from l0compile.rewrite.runner import run
from l0compile.rewrite.windows import Window

l0 = torch.ops.l0compile
PACK = partial(pack_planes, rows=4)
PASSES = [PACK, fuse_conv_epilogue, fuse_words]
Count = Callable[..., int]


class Integers(nn.Module):
    """A convolution of 8-bit integers with random numbers."""

    def __init__(
        self,
        channels: int,
        n: int,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        bias: bool = True,
        zero_point: int = 120,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (n, channels, *kernel), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(n) * 1e-3)
        self.register_buffer("inverse", 20 + 20 * torch.rand(channels, 1, 1))
        self.bias = nn.Parameter(torch.randn(n)) if bias else None
        self.zero_point, self.steps = zero_point, (stride, padding, dilation)

    def forward(self, x: Tensor) -> Tensor:
        q = l0.quantize(x, self.inverse, self.zero_point)
        return l0.int8_conv2d(q, self.weight, self.scale, self.bias, self.zero_point, *self.steps)


class Sparse(Integers):
    """The same with a share of the blocks of 4 x 4 channels."""

    def __init__(self, *args: int, density: float = 0.3) -> None:
        super().__init__(*args)
        n, channels = self.weight.shape[:2]
        kept = torch.rand(-(-n // 4), -(-channels // 4), *self.weight.shape[2:]) < density
        self.weight *= kept.repeat_interleave(4, 0).repeat_interleave(4, 1)[:n, :channels]


def sizes(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_convolution(captured, count: Count, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    size, kernel, stride = data.draw(sizes(1, 10)), data.draw(sizes(1, 4)), data.draw(sizes(1, 3))
    padding, dilation = data.draw(sizes(0, 2)), data.draw(sizes(1, 2))
    assume(min(Window(size, kernel, stride, padding, dilation).result) > 0)
    channels, zero_point = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 255))
    bias = data.draw(st.booleans())
    model = Integers(channels, 8, kernel, stride, padding, dilation, bias, zero_point)
    x = torch.randn(2, channels, *size)
    program = captured(model, x)
    result = run(program, PASSES)
    with torch.no_grad():
        # The very same numbers: what is compared are sums of integers, scaled and rounded once.
        assert torch.equal(result.run(x)[0], program.run(x)[0])
    assert count(result, l0.packed_int8_conv2d.default) == 1 and count(result, l0.int8_conv2d.default) == 0


def test_two_taps_that_read_the_same_zero_point_both_count(captured) -> None:  # type: ignore[no-untyped-def]
    """Around so small an image, the place right of a row is also that left of the next one."""
    program = captured(Integers(1, 8, (2, 3), (1, 2), (1, 2), (1, 2), zero_point=1), torch.randn(2, 1, 1, 1))
    result = run(program, PASSES)
    (conv,) = result.graph.find_nodes(op="call_function", target=l0.packed_int8_conv2d.default)
    offsets = result.constants[conv.args[2].target]
    assert len(offsets.unique()) < len(offsets)
    x = torch.randn(2, 1, 1, 1)
    with torch.no_grad():
        assert torch.equal(result.run(x)[0], program.run(x)[0])


def test_a_second_run_does_nothing(apply_once, captured) -> None:  # type: ignore[no-untyped-def]
    model = nn.Sequential(Integers(5, 8), nn.ReLU(), Integers(8, 6, (1, 1), (2, 2), (0, 0)))
    x = torch.randn(2, 5, 7, 6)
    for step in PASSES:
        apply_once(captured(model, x), step, x)


def test_results_are_rounded_where_they_are_made(captured, agree, count: Count) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    x = torch.randn(2, 5, 9, 7)
    program = captured(nn.Sequential(Integers(5, 8), nn.ReLU(), Integers(8, 6), nn.ReLU(), Integers(6, 4)), x)
    result = run(program, PASSES)
    agree(program, result, x)
    # The input, and the result with six rows, which are no whole words.
    assert count(result, l0.quantize_planes.default) == 2 and count(result, torch.ops.aten.relu.default) == 0
    convs = result.graph.find_nodes(op="call_function", target=l0.packed_int8_conv2d.default)
    assert [str(conv.meta["val"].dtype) for conv in convs] == [
        "torch.int32",
        "torch.float32",
        "torch.float32",
    ]


class Residual(nn.Module):
    """A block with a shortcut, then two readers of its result with the same scales, one of them strided."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Integers(8, 8), Integers(8, 8, bias=False)
        self.one, self.down = Integers(8, 4, (1, 1), (1, 1), (0, 0)), Integers(8, 4, (1, 1), (2, 2), (0, 0))
        self.down.inverse = self.one.inverse

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = F.relu(x + self.second(F.relu(self.first(x))))
        return self.one(y), self.down(y)


def test_a_shortcut_and_two_readers(captured, agree, count: Count) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    x = torch.randn(2, 8, 9, 7)
    program = captured(Residual(), x)
    result = run(program, PASSES)
    agree(program, result, x)
    convs = result.graph.find_nodes(op="call_function", target=l0.packed_int8_conv2d.default)
    residuals = [conv.args[7] is not None for conv in convs]
    assert sorted(residuals) == [False, False, False, True]
    assert count(result, torch.ops.aten.add.Tensor) == 0 and count(result, l0.copy_word_planes.default) == 1
    # The input of the first alone: what both readers share is written by the layer before them.
    assert count(result, l0.quantize_planes.default) == 1


def test_formats(captured, count: Count, target: Target) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    x = torch.randn(1, 16, 9, 9)
    program = record_regions(captured(Sparse(16, 12), x))
    chosen = run(program, [partial(choose_formats, target=target)])
    (region,) = chosen.regions
    assert (region.kind, region.precision, region.format, region.block) == ("conv", "int8", "bsr", (4, 4))
    assert region.shape_before == (12, 16, 3, 3)
    packed = run(chosen, PASSES)
    with torch.no_grad():
        assert torch.equal(packed.run(x)[0], program.run(x)[0])
        assert torch.equal(chosen.run(x)[0], program.run(x)[0])
    (conv,) = packed.graph.find_nodes(op="call_function", target=l0.packed_int8_conv2d.default)
    assert conv.args[3] is not None and conv.args[1].meta["val"].shape[0] < 12 * 16 * 9 / 16


def test_a_dense_weight_stays_dense(captured, target: Target) -> None:  # type: ignore[no-untyped-def]
    program = record_regions(captured(Integers(8, 8), torch.randn(1, 8, 5, 5)))
    (region,) = run(program, [partial(choose_formats, target=target)]).regions
    assert (region.format, region.precision) == ("dense", "int8") and "4×4" in region.reason


class Odd(Integers):
    """What must stay an image."""

    def __init__(self, what: str) -> None:
        super().__init__(8, 8)
        self.what = what
        if what == "a scale for each pixel":
            self.inverse = torch.rand(8, 5, 6)

    def forward(self, x: Tensor) -> Tensor:
        zero_point, scale = self.zero_point, self.scale
        if self.what == "another zero point":
            zero_point -= 1
        elif self.what == "scales that are computed":
            scale = scale * x.mean().abs()
        q = l0.quantize(x, self.inverse, self.zero_point)
        if self.what == "integers of another operator":
            q = q.flip(1)
        return l0.int8_conv2d(q, self.weight, scale, self.bias, zero_point, *self.steps)


@pytest.mark.parametrize(
    "what",
    [
        "a scale for each pixel",
        "another zero point",
        "scales that are computed",
        "integers of another operator",
    ],
)
def test_others_stay_images(captured, agree, count: Count, what: str) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(2, 8, 5, 6)
    program = captured(Odd(what), x)
    result: Program = run(program, PASSES)
    agree(program, result, x)
    assert count(result, l0.packed_int8_conv2d.default) == 0 and count(result, l0.int8_conv2d.default) == 1


def test_symbolic_batch_is_packed_and_a_symbolic_image_is_not(agree, count: Count) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(3, 8, 6, 5)
    for axis, packed in ((0, 1), (2, 0)):
        program = capture(Integers(8, 8).eval(), (x,), dynamic_shapes={"x": {axis: "size"}})
        result = run(program, PASSES)
        agree(program, result, x)
        assert count(result, l0.packed_int8_conv2d.default) == packed


def test_one_image_without_a_batch_stays(captured, agree, count: Count) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(8, 6, 5)
    program = captured(Integers(8, 8), x)
    result = run(program, PASSES)
    agree(program, result, x)
    assert count(result, l0.packed_int8_conv2d.default) == 0
