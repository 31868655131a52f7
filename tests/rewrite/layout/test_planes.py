"""pack_planes and fuse_conv_epilogue: random convolutions, what joins them on planes, and what must not."""

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
from l0compile.ir.ops.bsr import dense_blocks
from l0compile.ir.ops.planes import Planes
from l0compile.ir.program import Program
from l0compile.rewrite.formats.choose_formats import choose_formats
from l0compile.rewrite.fuse.fuse_epilogues import fuse_conv_epilogue
from l0compile.rewrite.layout.planes import pack_planes
from l0compile.rewrite.runner import run
from l0compile.rewrite.windows import Window, layouts

aten, l0 = torch.ops.aten, torch.ops.l0compile
PASSES = [partial(pack_planes, rows=4), fuse_conv_epilogue]
Count = Callable[..., int]


class Block(nn.Module):
    """Two convolutions, a shortcut, and what usually stands between them."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 1, stride)
        self.first, self.second = nn.Conv2d(3, 8, 3, stride, 1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(F.relu(self.first(x))) + self.down(x))


def sizes(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def windows(draw: st.DrawFn) -> Window:
    size, kernel, stride = draw(sizes(1, 11)), draw(sizes(1, 5)), draw(sizes(1, 3))
    window = Window(size, kernel, stride, draw(sizes(0, 3)), draw(sizes(1, 2)))
    assume(min(window.result) > 0)
    return window


@settings(max_examples=150, deadline=None)
@given(window=windows(), other=windows())
def test_any_window_reads_its_taps(window: Window, other: Window) -> None:
    """A convolution through the layout, against PyTorch's; another window has its say about the layout."""
    x, weight = torch.randn(2, 3, *window.size), torch.randn(4, 3, *window.kernel)
    expected = F.conv2d(x, weight, None, window.stride, window.padding, window.dilation)
    result = layouts([window, other])[window.result]
    source = result if window.keeps_size else window.source(result.pitch)
    phases = [place for phase in window.phases for place in phase]
    flat = Planes.rows(*window.size).numbers()
    planes = l0.copy_planes(x.flatten(2), flat, source.numbers(), window.stride, phases)
    places = torch.tensor(window.places(source, 3))
    offsets = (torch.arange(3)[:, None] * source.size + places).flatten().to(torch.int32)
    y = l0.packed_conv2d(
        planes, dense_blocks(weight.flatten(1), 4), offsets, None, None, None, 4, result.numbers(), ""
    )
    body = result.lead + result.body
    # The kernel reads whole registers, also behind the last pixel: it must stay inside of the planes.
    assert int(offsets.min()) >= 0 and int(offsets.max()) + result.body <= planes[0].numel()
    assert body <= result.size
    rows = Planes.rows(*window.result)
    image = l0.copy_planes(y, result.numbers(), rows.numbers(), [1, 1], [0, 0]).view(expected.shape)
    torch.testing.assert_close(image, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_convolution(apply_once, captured, count: Count, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    window, groups = data.draw(windows()), data.draw(st.sampled_from([1, 2, 4]))
    rank = data.draw(st.sampled_from([1, 2]))
    every = (window.size, window.kernel, window.stride, window.padding, window.dilation)
    size, kernel, stride, padding, dilation = (pair[:rank] for pair in every)
    make = nn.Conv2d if rank == 2 else nn.Conv1d
    conv = make(4, 8, kernel, stride, padding, dilation, groups)  # type: ignore[arg-type]
    after = make(8, 4, 3, padding=1)
    program = captured(nn.Sequential(conv, nn.ReLU(), after), torch.randn(2, 4, *size))
    result = apply_once(program, PASSES[0], torch.randn(2, 4, *size))
    assert count(result, l0.packed_conv2d.default) == 2
    # Into planes (or phases) once, perhaps a copy between the two, and back once.
    assert count(result, l0.copy_planes.default) <= 3


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_maximum(captured, agree, count: Count, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    """Windows that reach out of the image on any side, also by ceil mode, of values of either sign."""
    torch.manual_seed(0)
    size, kernel, stride = data.draw(sizes(2, 9)), data.draw(sizes(1, 4)), data.draw(sizes(1, 3))
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    pool = nn.MaxPool2d(kernel, stride, padding, data.draw(sizes(1, 2)), ceil_mode=data.draw(st.booleans()))
    window = Window(size, kernel, stride, padding, pool.dilation, pool.ceil_mode)  # type: ignore[arg-type]
    assume(min(window.result) > 0)
    x = torch.randn(2, 3, *size) - 1
    program = captured(nn.Sequential(nn.Conv2d(3, 4, 1), pool), x)
    result = run(program, PASSES)
    agree(program, result, x)
    assert count(result, l0.packed_window.default) == 1


def test_a_chain_is_packed_once(captured, agree, count: Count) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(2, 3, 9, 7)
    program = captured(Block(), x)
    result = run(program, PASSES)
    agree(program, result, x)
    assert count(result, l0.copy_planes.default) == 2
    # The additions and activations are in the convolutions.
    assert count(result, aten.relu.default) == count(result, aten.add.Tensor) == 0


def test_a_strided_block_cuts_phases_once_each(captured, agree, count: Count) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(1, 3, 10, 11)
    program = captured(Block(stride=2), x)
    result = run(program, PASSES)
    agree(program, result, x)
    assert count(result, l0.copy_planes.default) == 3
    assert count(result, aten.relu.default) == count(result, aten.add.Tensor) == 0


class Tail(nn.Module):
    """A convolution and some function of its result."""

    def __init__(self, then: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.then = nn.Conv2d(3, 4, 3, padding=1), then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.conv(x))


def slopes(*values: float) -> nn.Module:
    module = nn.PReLU(len(values))
    module.weight.data = torch.tensor(values)
    return module


JOINS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": lambda x: F.relu6(x),
    "hardswish": lambda x: F.hardswish(x),
    "sigmoid": lambda x: x.sigmoid(),
    "sigmoid, pooled": lambda x: F.max_pool2d(x.sigmoid(), 3, 2, 1),
    "sigmoid and a sum": lambda x: (y := x * 2) + F.avg_pool2d(y, 3, 1, 1).sigmoid(),
    "clamped at zero": lambda x: x.clamp_min(0.0),
    "elu": lambda x: F.elu(x),
    "square root of what is not negative": lambda x: F.max_pool2d(x.abs().sqrt(), 3, 2, 1),
    "squeeze and excite": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "pooled to one": lambda x: F.adaptive_avg_pool2d(x, 1),
    "concatenated": lambda x: torch.cat([x, x.relu(), x * 2], 1),
    "max pool of what is not negative": lambda x: F.max_pool2d(F.relu(x), 3, 2, 1),
    "max pool without padding": lambda x: F.max_pool2d(x, 2),
    "max pool of anything": lambda x: F.max_pool2d(x, 3, 2, 1),
    "max pool that keeps the size": lambda x: F.max_pool2d(x, 3, 1, 1),
    "ceil mode": lambda x: F.max_pool2d(x, 2, ceil_mode=True),
    "ceil mode, padded": lambda x: F.max_pool2d(x, (3, 2), (3, 2), 1, (2, 1), ceil_mode=True),
    "leaky": lambda x: F.leaky_relu(x, 0.3),
    "leaky twice": lambda x: F.leaky_relu(x, 0.3) - x,
    "a slope a channel": slopes(0.1, -0.2, 3.0, 0.0),
    "one slope": slopes(-0.2),
    "one slope, pooled": nn.Sequential(slopes(-0.2), nn.MaxPool2d(3, 2, 1)),
    "average pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
}
STAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid of what is read twice": lambda x: x.sigmoid() - x,
    "sigmoid of a sum": lambda x: (x + x.relu()).sigmoid(),
    "a number added": lambda x: x + 1,
    "clamped above zero": lambda x: x.clamp(0.5, 1.0),
    "average without the padding": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "average in ceil mode": lambda x: F.avg_pool2d(x, 2, ceil_mode=True),
    "divided by a number per pixel": lambda x: x / (x.abs() + 1),
    "mean over rows": lambda x: x.mean(2),
    "concatenated elsewhere": lambda x: torch.cat([x, x], 2),
}


@pytest.mark.parametrize("name", [*JOINS, *STAYS])
def test_neighbours(captured, agree, count: Count, name: str) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(2, 3, 7, 9)
    program = captured(Tail({**JOINS, **STAYS}[name]), x)
    result = run(program, PASSES)
    agree(program, result, x)
    images = [node for node in result.graph.nodes if "val" in node.meta and node.op == "call_function"]
    outside = [n for n in images if n.target not in (aten.unflatten.int, aten.flatten.using_ints)]
    outside = [n for n in outside if n.meta["val"].ndim == 4 and min(n.meta["val"].shape[2:]) > 1]
    assert bool(outside) == (name in STAYS and name not in ("mean over rows",))


class Gates(nn.Module):
    """Rows and columns through 1x1 convolutions, which gate a whole image, as in coordinate attention."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.rows(x.mean(3, keepdim=True)).sigmoid() * self.columns(x.mean(2, keepdim=True))


@settings(max_examples=20, deadline=None)
@given(size=sizes(1, 6))
def test_planes_smaller_than_what_they_gate(size: tuple[int, int]) -> None:
    model, x = Gates().eval(), torch.randn(2, 4, *size)
    program = capture(model, (x,))
    torch.testing.assert_close(run(program, PASSES).module()(x)[0], model(x))


def test_symbolic_batch_is_packed_and_a_symbolic_image_is_not(agree, count: Count) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(3, 3, 8, 8)
    batch = run(capture(Block().eval(), (x,), dynamic_shapes={"x": {0: "n"}}), PASSES)
    assert count(batch, l0.packed_conv2d.default) == 3
    program = capture(Block().eval(), (x,), dynamic_shapes={"x": {2: "h"}})
    result = run(program, PASSES)
    assert count(result, l0.packed_conv2d.default) == 0
    agree(program, result, x)


@pytest.mark.parametrize(("density", "sparse"), [(0.3, True), (1.0, False)])
def test_formats(captured, agree, target: Target, count: Count, density: float, sparse: bool) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    conv = nn.Conv2d(8, 16, 3, 2, 1)
    mask = (torch.rand(4, 72) < density).repeat_interleave(4, 0)
    conv.weight.data *= mask.view(16, 8, 3, 3)
    x = torch.randn(1, 8, 9, 9)
    program = captured(conv, x)
    chosen = run(program, [partial(choose_formats, target=target)])
    region = chosen.regions[0]
    assert (region.kind, region.shape_before) == ("conv", (16, 8, 3, 3))
    assert (region.format, region.block) == (("bsr", (4, 1)) if sparse else ("dense", None))
    agree(program, chosen, x)
    packed: Program = run(chosen, PASSES)
    agree(program, packed, x)
    assert count(packed, l0.packed_conv2d.default) == 1
    conv_node = packed.graph.find_nodes(op="call_function", target=l0.packed_conv2d.default)[0]
    assert (conv_node.args[3] is not None) == sparse


class Constants(nn.Module):
    """Convolutions with what compaction leaves between them: a plane of constants, channels picked and put back."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.register_buffer("plane", torch.randn(1, 8, 6, 5))
        self.register_buffer("scale", torch.randn(8, 1, 1))
        self.register_buffer("shift", torch.randn(1, 8, 1, 1))
        self.register_buffer("order", torch.tensor([5, 2, 4, 0, 7, 1, 3, 6]))
        self.register_buffer("twice", torch.tensor([5, 2, 2, 0, 7, 1, 3, 6]))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.a(x))
        match self.what:
            case "plane":
                h = F.relu(self.a(x) + self.plane)
            case "shift":
                h = h + self.shift
            case "scale and shift":
                h = h * self.scale + self.shift
            case "order":
                h = h.index_select(1, self.order)
            case "one twice":
                h = h.index_select(1, self.twice)
            case "order, for another too":
                h = F.silu(h.index_select(1, self.order)) + self.a(x)
        return self.b(h)


@pytest.mark.parametrize(
    ("what", "fused"),
    [
        ("plane", {aten.add.Tensor: 0, aten.relu.default: 0}),
        ("shift", {aten.add.Tensor: 0, l0.packed_window.default: 1}),
        ("scale and shift", {aten.add.Tensor: 0, aten.mul.Tensor: 0, l0.packed_window.default: 1}),
        ("order", {aten.index_select.default: 0}),
        ("one twice", {aten.index_select.default: 1}),
        ("order, for another too", {aten.index_select.default: 1}),
    ],
)
def test_constants_of_compaction_stay_in_planes(
    captured: Callable[..., Program],
    agree: Callable[..., None],
    count: Count,
    what: str,
    fused: dict[object, int],
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 5)
    program = captured(Constants(what), x)
    result = run(program, PASSES)
    agree(program, result, x)
    assert count(result, l0.packed_conv2d.default) >= 2 and count(result, l0.copy_planes.default) == 2
    assert {operator: count(result, operator) for operator in fused} == fused


def test_a_sum_without_axes_is_left_alone() -> None:
    class Counted(nn.Module):
        def forward(self, x: torch.Tensor, n: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x.relu(), n + torch.tensor(1.0)

    args = (torch.randn(1, 3, 8, 8), torch.tensor(2.0))
    program = capture(Counted().eval(), args)
    assert pack_planes(program, rows=4).run(*args)[1] == 3
