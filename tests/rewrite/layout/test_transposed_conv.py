"""transposed_conv_to_conv: any transposed convolution over known sizes, by its phases."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from l0compile.frontend.export import capture
from l0compile.rewrite.layout.transposed_conv import transposed_conv_to_conv

aten = torch.ops.aten


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_transposed_convolution(apply_once, captured, count, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    axes = data.draw(st.sampled_from([1, 2]))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(data.draw(st.integers(low, high)) for _ in range(axes))

    size, kernel, stride, padding, dilation = each(1, 6), each(1, 5), each(1, 4), each(0, 2), each(1, 2)
    more = tuple(data.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    result = [
        (n - 1) * s - 2 * p + d * (k - 1) + m + 1
        for n, k, s, p, d, m in zip(size, kernel, stride, padding, dilation, more, strict=True)
    ]
    assume(min(result) > 0)
    make = nn.ConvTranspose1d if axes == 1 else nn.ConvTranspose2d
    bias = data.draw(st.booleans())
    model = make(3, 2, kernel, stride, padding, more, bias=bias, dilation=dilation)  # type: ignore[arg-type]
    x = torch.randn(2, 3, *size)
    rewritten = apply_once(captured(model, x), transposed_conv_to_conv, x)
    assert count(rewritten, aten.conv1d.default) + count(rewritten, aten.conv2d.default) == 1


@pytest.mark.parametrize("groups", [1, 2])
def test_what_does_not_fit_stays(groups: int) -> None:
    model, x = nn.ConvTranspose1d(4, 4, 3, groups=groups), torch.randn(2, 4, 5)
    program = capture(model.eval(), (x,), dynamic_shapes=({0 if groups == 2 else 2: "n"},))
    assert transposed_conv_to_conv(program) is program
